import pytest
from sqlalchemy import update

from shared.errors import ConflictError, NotFoundError
from shared.store import lifecycle, queue, repository
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.repository import ExperimentFilter
from shared.store.states import ExperimentState, JobState, RunState
from shared.store.tables import Job
from shared.store.types import new_id
from tests.shared.store.experiments import (
    cancel,
    claim,
    commit,
    complete,
    everything,
    experiment,
    fail,
    job,
    post_jobs,
    runs,
    train_to_the_end,
)


def resume(database: Database, experiment_id: str) -> None:
    with database.write() as session:
        lifecycle.resume_experiment(session, experiment_id, owner=LOCAL_OWNER)


# --- cancelling


def test_cancelling_what_waits_ends_it_at_once(database: Database) -> None:
    experiment_id, ids = post_jobs(database, "relu", "elu")
    with database.write() as session:
        session.get_one(Job, ids[0]).state = JobState.DISPATCHED
    cancel(database, experiment_id)
    cancelled = experiment(database, experiment_id)
    assert cancelled.state == ExperimentState.CANCELLED
    assert cancelled.finished_at is not None
    assert {job(database, job_id).state for job_id in ids} == {JobState.CANCELLED}
    assert {run.state for job_id in ids for run in runs(database, job_id)} == {RunState.CANCELLED}
    with database.write() as session:
        assert queue.claim(session, ids[0], new_id()) is None


def test_cancelling_what_runs_flags_it_until_its_worker_confirms(database: Database) -> None:
    experiment_id, (running, waiting) = post_jobs(database, "relu", "elu")
    lease = claim(database, running)
    commit(database, lease, 1)
    cancel(database, experiment_id)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLING
    assert job(database, running).state == JobState.CANCELLING
    assert job(database, waiting).state == JobState.CANCELLED
    with database.write() as session:
        assert queue.confirm_cancelled(session, lease)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED
    assert {run.state for run in runs(database, running)} == {RunState.CANCELLED}
    assert {run.epoch for run in runs(database, running)} == {1}, "what was measured stays"


def test_cancelling_twice_is_cancelling_once(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    claim(database, job_id)
    cancel(database, experiment_id)
    before = everything(database)
    cancel(database, experiment_id)
    assert everything(database) == before


def test_what_finished_cannot_be_cancelled(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    before = everything(database)
    with pytest.raises(ConflictError, match="succeeded already"), database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
    assert everything(database) == before


def test_jobs_that_succeeded_before_the_cancellation_stay_so(database: Database) -> None:
    experiment_id, (done, waiting) = post_jobs(database, "relu", "elu")
    train_to_the_end(database, done)
    cancel(database, experiment_id)
    assert (job(database, done).state, job(database, waiting).state) == (JobState.SUCCEEDED, JobState.CANCELLED)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED
    assert {run.state for run in runs(database, done)} == {RunState.SUCCEEDED}


# --- resuming


def test_resuming_queues_only_the_jobs_that_did_not_finish(database: Database) -> None:
    experiment_id, (done, failed, cancelled) = post_jobs(database, "relu", "elu", "tanh")
    train_to_the_end(database, done)
    fail(database, failed)
    cancel(database, experiment_id)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED
    before = job(database, done)
    resume(database, experiment_id)
    resumed = experiment(database, experiment_id)
    assert (resumed.state, resumed.error, resumed.finished_at) == (ExperimentState.QUEUED, None, None)
    for job_id in (failed, cancelled):
        assert (job(database, job_id).state, job(database, job_id).error) == (JobState.PENDING, None)
        assert {run.state for run in runs(database, job_id)} == {RunState.PENDING}
    assert job(database, done).finished_at == before.finished_at
    assert {run.state for run in runs(database, done)} == {RunState.SUCCEEDED}
    for job_id in (failed, cancelled):
        lease = claim(database, job_id)
        with database.write() as session:
            queue.rewind(session, lease, 0)
        commit(database, lease, 1, 2, 3)
        complete(database, lease)
    assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED


def test_a_resumed_job_starts_with_its_checkpoints_and_no_losses(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    pointers = [{"file": "a", "sha256": "1", "epoch": 1}]
    with database.write() as session:
        queue.save_checkpoint(session, lease, pointers)
        session.execute(update(Job).values(losses=2))
    with database.write() as session:
        queue.fail(session, lease, "no")
    resume(database, experiment_id)
    resumed = job(database, job_id)
    assert (resumed.losses, resumed.checkpoints, resumed.token) == (0, pointers, 1)
    assert claim(database, job_id).token == 2


def test_the_first_start_of_a_resumed_experiment_stays_and_its_time_left_is_reckoned_anew(database: Database) -> None:
    experiment_id, (done, job_id) = post_jobs(database, "relu", "elu")
    train_to_the_end(database, done)
    fail(database, job_id)
    before = experiment(database, experiment_id)
    resume(database, experiment_id)
    assert experiment(database, experiment_id).running_since is None
    claim(database, job_id)
    after = experiment(database, experiment_id)
    assert after.state == ExperimentState.RUNNING
    assert after.started_at == before.started_at
    assert after.running_since is not None
    assert before.running_since is not None
    assert after.running_since > before.running_since
    assert after.epochs_before == 12


def test_only_what_failed_or_was_cancelled_can_be_resumed(database: Database) -> None:
    for state in ("queued", "running", "cancelling", "succeeded"):
        experiment_id, (job_id,) = post_jobs(database, "relu")
        if state == "succeeded":
            train_to_the_end(database, job_id)
        elif state != "queued":
            claim(database, job_id)
        if state == "cancelling":
            cancel(database, experiment_id)
        before = everything(database)
        with pytest.raises(ConflictError, match=state), database.write() as session:
            lifecycle.resume_experiment(session, experiment_id, owner=LOCAL_OWNER)
        assert everything(database) == before


# --- deleting


def test_a_deleted_experiment_is_gone_for_everyone_at_once(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    with database.write() as session:
        lifecycle.mark_deleted(session, experiment_id, owner=LOCAL_OWNER)
    with database.read() as session:
        assert repository.list_experiments(session, ExperimentFilter(LOCAL_OWNER), limit=10) == []
    for act in (repository.get_experiment, lifecycle.start_cancelling, lifecycle.resume_experiment,
                lifecycle.mark_deleted):  # fmt: skip
        with pytest.raises(NotFoundError), database.write() as session:
            act(session, experiment_id, owner=LOCAL_OWNER)


def test_what_has_not_finished_cannot_be_deleted(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    with pytest.raises(ConflictError, match="queued; cancel it"), database.write() as session:
        lifecycle.mark_deleted(session, experiment_id, owner=LOCAL_OWNER)
    claim(database, job_id)
    with pytest.raises(ConflictError, match="running; cancel it"), database.write() as session:
        lifecycle.mark_deleted(session, experiment_id, owner=LOCAL_OWNER)


@pytest.mark.parametrize("piece", [1, 5, 1000])
def test_purging_in_pieces_leaves_no_row_and_touches_no_other_experiment(
    piece: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "METRICS_PER_PURGE", piece)
    kept_id, (kept,) = post_jobs(database, "relu")
    train_to_the_end(database, kept)
    before = everything(database)
    doomed_id, ids = post_jobs(database, "relu", "elu")
    for job_id in ids:
        train_to_the_end(database, job_id)
    with database.write() as session:
        lifecycle.mark_deleted(session, doomed_id, owner=LOCAL_OWNER)
    for _ in range(50):
        with database.write() as session:
            if lifecycle.purge_some(session, doomed_id):
                break
    assert everything(database) == before
    assert experiment(database, kept_id).deleted_at is None


def test_purging_what_is_gone_already_is_no_error(database: Database) -> None:
    with database.write() as session:
        assert lifecycle.purge_some(session, new_id())
