"""What happens to an experiment is told whole, in order, and with the change itself."""

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from shared.errors import NotFoundError
from shared.settings import Settings
from shared.store import event_log, events, lifecycle, queue, reconciler
from shared.store.db import Database
from shared.store.doorbell import dispatch
from shared.store.event_log import BEGINNING, EventKind, Position, Told, read_piece
from shared.store.keys import LOCAL_OWNER
from shared.store.tables import Event, Experiment
from shared.store.types import ago
from tests.shared.store.experiments import (
    cancel,
    claim,
    commit,
    fail,
    lose,
    post_jobs,
    rows,
    train_to_the_end,
)


def told(database: Database, experiment_id: str, after: Position = BEGINNING) -> list[Told]:
    """Everything behind a position, piece by piece."""
    found: list[Told] = []
    while True:
        with database.read() as session:
            piece = read_piece(session, experiment_id, after)
        found += piece.told
        if not piece.more:
            return found
        after = piece.end


def lines(database: Database, experiment_id: str, after: Position = BEGINNING) -> list[str]:
    """Everything behind a position, in words."""
    return [_line(each) for each in told(database, experiment_id, after)]


def _line(event: Told) -> str:
    if event.kind is EventKind.EPOCH:
        return f"{event.data['activation']} {event.data['rate']} {event.data['seed']}: {event.data['epoch']}"
    return f"{event.kind.partition('.')[0]} {event.data['state']}"


def resume(database: Database, experiment_id: str) -> None:
    with database.write() as session:
        lifecycle.resume_experiment(session, experiment_id, owner=LOCAL_OWNER)


def num_events(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Event)) or 0


def test_an_experiment_is_told_from_its_beginning_to_its_end(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu", num_seeds=1)
    train_to_the_end(database, job_id, num_epochs=2)
    assert lines(database, experiment_id) == [
        "experiment queued", "job running", "experiment running",
        "relu 0.0 0: 1", "relu 0.2 0: 1", "relu 0.0 0: 2", "relu 0.2 0: 2",
        "job succeeded", "experiment succeeded", "done succeeded",
    ]  # fmt: skip


def test_an_epoch_is_told_with_what_each_run_measured(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu", num_seeds=1)
    lease = claim(database, job_id)
    (first, second) = rows(database, lease, 1)
    with database.write() as session:
        queue.commit_epoch(session, lease, [first, second])
    clean, dirty = (each.data for each in told(database, experiment_id) if each.kind is EventKind.EPOCH)
    assert clean == {
        "run_id": first.run_id, "activation": "relu", "rate": 0.0, "seed": 0, "epoch": 1,
        "train_loss": first.train_loss, "val_loss": first.val_loss, "train_accuracy": None, "val_accuracy": None,
        "nonfinite": None,
    }  # fmt: skip
    assert (dirty["run_id"], dirty["rate"], dirty["val_loss"]) == (second.run_id, 0.2, second.val_loss)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_from_any_event_on_everything_else_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    experiment_id, job_ids = post_jobs(database, "relu", "elu")
    for job_id in job_ids:
        train_to_the_end(database, job_id)
    whole = told(database, experiment_id)
    assert [each.at for each in whole] == sorted({each.at for each in whole})
    monkeypatch.setattr(event_log, "ROWS_PER_PIECE", most)
    monkeypatch.setattr(event_log, "RUNS_PER_PIECE", most)
    assert told(database, experiment_id) == whole
    for index, event in enumerate(whole[:-1]):
        assert told(database, experiment_id, event.at) == whole[index + 1 :]


def test_the_end_is_told_again_to_who_knows_it(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    end = told(database, experiment_id)[-1]
    assert told(database, experiment_id, end.at) == [end]


def test_an_epoch_committed_again_is_told_once(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu", num_seeds=1)
    lease = claim(database, job_id)
    commit(database, lease, 1)
    commit(database, lease, 1)
    assert lines(database, experiment_id)[3:] == ["relu 0.0 0: 1", "relu 0.2 0: 1"]


def test_what_was_rewound_is_told_again_when_it_was_trained_again(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu", num_seeds=1)
    lease = claim(database, job_id)
    commit(database, lease, 1, 2)
    known = told(database, experiment_id)[-1].at
    with database.write() as session:
        queue.release(session, lease)
    again = claim(database, job_id)
    with database.write() as session:
        queue.rewind(session, again, 1)
    assert [line for line in lines(database, experiment_id) if line.startswith("relu")] == [
        "relu 0.0 0: 1", "relu 0.2 0: 1",
    ]  # fmt: skip
    commit(database, again, 2)
    assert lines(database, experiment_id, known) == ["job pending", "job running", "relu 0.0 0: 2", "relu 0.2 0: 2"]


def test_who_has_half_of_a_rewound_epoch_hears_the_other_half_once_it_is_trained(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu", num_seeds=1)
    lease = claim(database, job_id)
    commit(database, lease, 1)
    half = told(database, experiment_id)[-2]
    with database.write() as session:
        queue.rewind(session, lease, 0)
    assert told(database, experiment_id, half.at) == []
    commit(database, lease, 1)
    # The first row now tells what was trained again, and so does the second.
    assert lines(database, experiment_id, half.at) == ["relu 0.2 0: 1", "relu 0.0 0: 1", "relu 0.2 0: 1"]


def test_a_cancelled_experiment_that_is_resumed_goes_on_under_later_ids(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    cancel(database, experiment_id)
    assert lines(database, experiment_id)[1:] == [
        "experiment cancelling", "job cancelled", "experiment cancelled", "done cancelled",
    ]  # fmt: skip
    end = told(database, experiment_id)[-1].at
    resume(database, experiment_id)
    train_to_the_end(database, job_id, num_epochs=1)
    later = lines(database, experiment_id, end)
    assert later[:3] == ["experiment queued", "job pending", "job running"]
    assert later[-1] == "done succeeded"
    assert lines(database, experiment_id).count("done cancelled") == 0


def test_a_running_job_is_flagged_before_it_is_cancelled(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    cancel(database, experiment_id)
    with database.write() as session:
        assert queue.confirm_cancelled(session, lease)
    assert lines(database, experiment_id)[3:] == [
        "experiment cancelling", "job cancelling", "job cancelled", "experiment cancelled", "done cancelled",
    ]  # fmt: skip


def test_failures_come_with_their_reasons(database: Database) -> None:
    experiment_id, (first, second) = post_jobs(database, "relu", "elu")
    fail(database, first)
    for _ in range(3):
        lose(database, second)
    errors = {(each.kind, each.data["state"]): each.data["error"] for each in told(database, experiment_id)[:-1]}
    assert errors[EventKind.JOB, "pending"] is None
    assert "lost 3 times" in errors[EventKind.JOB, "failed"]
    assert errors[EventKind.EXPERIMENT, "failed"].startswith("2 of 2 jobs failed; relu: no")


def test_a_job_that_waits_waits_whatever_becomes_of_its_message(database: Database, settings: Settings) -> None:
    experiment_id, _ = post_jobs(database, "relu")
    assert dispatch(database, settings) == 0
    assert lines(database, experiment_id) == ["experiment queued"]


def test_what_is_undone_leaves_no_event(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    before = num_events(database)

    def complete_and_break(session: Session) -> None:
        queue.complete(session, lease)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), database.write() as session:
        complete_and_break(session)
    assert num_events(database) == before


def test_a_position_behind_everything_counts_as_the_beginning(database: Database) -> None:
    experiment_id, _ = post_jobs(database, "relu")
    assert lines(database, experiment_id, Position(10**12, 3)) == ["experiment queued"]


def _without_events(database: Database) -> None:
    with database.write() as session:
        session.execute(Event.__table__.delete())  # type: ignore[attr-defined]


def test_an_experiment_older_than_all_events_is_told_by_its_state(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    _without_events(database)
    assert lines(database, experiment_id) == ["experiment queued"]
    assert lines(database, experiment_id, Position(0, 0)) == []
    train_to_the_end(database, job_id, num_epochs=1)
    assert lines(database, experiment_id, Position(0, 0))[0] == "job running"
    _without_events(database)
    assert lines(database, experiment_id, Position(0, 0)) == ["experiment succeeded", "done succeeded"]


def _age(database: Database, experiment_id: str, *, hours: float) -> None:
    with database.write() as session:
        moment = {"synchronize_session": False}
        ended = update(Experiment).where(Experiment.id == experiment_id, Experiment.finished_at.is_not(None))
        session.execute(ended.values(finished_at=ago(3600 * hours)), execution_options=moment)
        old = update(Event).where(Event.experiment_id == experiment_id).values(created_at=ago(3600 * hours))
        session.execute(old, execution_options=moment)


def test_a_day_after_the_end_only_the_end_is_told(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "ROWS_PER_DELETE", 3)
    ended, (job_id,) = post_jobs(database, "relu")
    recent, (recent_job,) = post_jobs(database, "relu")
    running, _ = post_jobs(database, "relu")
    for each in (job_id, recent_job):
        train_to_the_end(database, each)
    known = told(database, ended)[4].at
    for experiment_id, hours in ((ended, 25), (recent, 23), (running, 200)):
        _age(database, experiment_id, hours=hours)
    before = {each: lines(database, each) for each in (recent, running)}
    reconciler.forget_old(database, settings)
    assert {each: lines(database, each) for each in (recent, running)} == before
    assert lines(database, ended) == lines(database, ended, known) == ["experiment succeeded", "done succeeded"]


def test_a_forgotten_experiment_that_is_resumed_is_told_again(database: Database, settings: Settings) -> None:
    experiment_id, _ = post_jobs(database, "relu")
    cancel(database, experiment_id)
    end = told(database, experiment_id)[-1].at
    _age(database, experiment_id, hours=25)
    reconciler.forget_old(database, settings)
    assert num_events(database) == 0
    resume(database, experiment_id)
    assert lines(database, experiment_id, end) == ["experiment queued", "job pending"]
    reconciler.forget_old(database, settings)
    assert lines(database, experiment_id, end) == ["experiment queued", "job pending"]


def test_a_purged_experiment_leaves_no_event(database: Database, settings: Settings) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    with database.write() as session:
        lifecycle.mark_deleted(session, experiment_id, owner=LOCAL_OWNER)
    reconciler.purge_deleted(database, settings)
    assert num_events(database) == 0
    with pytest.raises(NotFoundError), database.read() as session:
        read_piece(session, experiment_id, BEGINNING)
