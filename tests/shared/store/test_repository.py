import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import update

from shared.errors import ConflictError, NotFoundError
from shared.plan import plan
from shared.spec import resolve
from shared.store import queue, repository
from shared.store.db import Database
from shared.store.repository import ExperimentFilter, Progress, RunFilter
from shared.store.states import ExperimentState, JobState, RunState
from shared.store.tables import Experiment, IdempotencyKey, Job
from shared.store.types import new_id
from tests.shared.specs import TINY_CLASSIFICATION, tiny
from tests.shared.store.experiments import (
    claim,
    commit,
    complete,
    everything,
    experiment,
    job,
    job_ids,
    num_rows,
    post,
    post_jobs,
    rows,
    runs,
    train_to_the_end,
)  # fmt: skip


def progress(database: Database, experiment_id: str) -> Progress:
    with database.read() as session:
        return repository.progress_of(session, [session.get_one(Experiment, experiment_id)])[experiment_id]


def cancel(database: Database, experiment_id: str) -> None:
    """As the API does: flag, then end what nobody trains."""
    with database.write() as session:
        repository.start_cancelling(session, experiment_id)
        repository.finish_if_done(session, experiment_id)


def resume(database: Database, experiment_id: str) -> None:
    with database.write() as session:
        repository.resume_experiment(session, experiment_id)


def fail(database: Database, job_id: str) -> None:
    lease = claim(database, job_id)
    with database.write() as session:
        queue.fail(session, lease, "no")


# --- writing


def test_an_experiment_is_stored_with_every_run_of_its_plan(database: Database) -> None:
    spec = resolve({"preset": "harrison-multivariate", "num_seeds": 3, "corruption": {"rates": [0.1, 0.4]}})
    experiment_id = post(database, spec)
    stored = experiment(database, experiment_id)
    assert resolve(stored.spec) == spec
    assert (stored.name, stored.dataset, stored.state) == ("harrison-multivariate", "fbm", ExperimentState.QUEUED)
    assert stored.provenance == {"version": "test"}
    planned = {(run.activation, run.rate, run.seed, run.position) for part in plan(spec).jobs for run in part.runs}
    with database.read() as session:
        written = repository.all_runs(session, experiment_id)
    assert {(run.activation, run.rate, run.seed, run.position) for run in written} == planned
    assert len(written) == len(planned)
    assert len(job_ids(database, experiment_id)) == len(plan(spec).jobs)
    for job_id in job_ids(database, experiment_id):
        assert {run.activation for run in runs(database, job_id)} == {job(database, job_id).activation}


def test_nothing_is_stored_of_an_experiment_whose_transaction_fails(database: Database) -> None:
    spec = tiny()
    with suppress(RuntimeError), database.write() as session:
        repository.create_experiment(session, spec, plan(spec), {})
        raise RuntimeError
    assert set(num_rows(database).values()) == {0}


def test_what_does_not_exist_is_named(database: Database) -> None:
    missing = new_id()
    with database.read() as session, pytest.raises(NotFoundError, match=missing):
        repository.get_experiment(session, missing)


# --- listing


def posted_at(database: Database, moment: datetime, **changes: Any) -> str:
    experiment_id = post(database, **changes)
    with database.write() as session:
        session.get_one(Experiment, experiment_id).created_at = moment
    return experiment_id


START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def listed(database: Database, wanted: ExperimentFilter | None = None, **options: Any) -> list[str]:
    with database.read() as session:
        found = repository.list_experiments(session, wanted or ExperimentFilter(), **{"limit": 100, **options})
    return [entry.id for entry in found]


def test_experiments_are_listed_newest_first_or_oldest_first(database: Database) -> None:
    ids = [posted_at(database, START + timedelta(seconds=second)) for second in range(4)]
    assert listed(database) == ids[::-1]
    assert listed(database, newest_first=False) == ids
    assert listed(database, limit=2) == [ids[3], ids[2]]


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_hold_every_experiment_once_even_those_of_one_microsecond(database: Database, newest_first: bool) -> None:
    ids = [posted_at(database, START + timedelta(microseconds=n // 3)) for n in range(10)]
    pages, after = [], None
    while True:
        with database.read() as session:
            page = repository.list_experiments(
                session, ExperimentFilter(), limit=3, newest_first=newest_first, after=after
            )
        if not page:
            break
        pages += [entry.id for entry in page]
        after = (page[-1].created_at, page[-1].id)
    assert pages == (ids[::-1] if newest_first else ids)


def test_experiments_are_found_by_what_they_are(database: Database) -> None:
    regression = posted_at(database, START, activations=["relu", {"kind": "elu", "label": "mine"}])
    classification = posted_at(database, START + timedelta(hours=1), spec=tiny(TINY_CLASSIFICATION))
    train_to_the_end(database, job_ids(database, classification)[0])
    both = [classification, regression]
    assert listed(database, ExperimentFilter(states=["succeeded"])) == [classification]
    assert listed(database, ExperimentFilter(states=["succeeded", "queued"])) == both
    assert listed(database, ExperimentFilter(datasets=["fbm"])) == [regression]
    assert listed(database, ExperimentFilter(activations=["elu"])) == [regression], "by kind"
    assert listed(database, ExperimentFilter(activations=["mine"])) == [regression], "by label"
    assert listed(database, ExperimentFilter(activations=["relu"])) == both
    assert listed(database, ExperimentFilter(activations=["gelu"])) == []
    assert listed(database, ExperimentFilter(created_after=START)) == [classification]
    assert listed(database, ExperimentFilter(created_before=START + timedelta(microseconds=1))) == [regression]
    assert listed(database, ExperimentFilter(datasets=["fbm"], states=["succeeded"])) == []


def test_times_of_other_zones_mean_the_same_moment(database: Database) -> None:
    in_india = timezone(timedelta(hours=5, minutes=30))
    experiment_id = posted_at(database, START.astimezone(in_india))
    stored = experiment(database, experiment_id).created_at
    assert stored == START
    assert stored.tzinfo == UTC
    just_before = (START - timedelta(microseconds=1)).astimezone(timezone(timedelta(hours=-8)))
    assert listed(database, ExperimentFilter(created_after=just_before)) == [experiment_id]
    assert listed(database, ExperimentFilter(created_after=START.astimezone(in_india))) == []


def test_runs_are_listed_in_the_order_of_the_plan_with_their_latest_metrics(database: Database) -> None:
    experiment_id, (first, second) = post_jobs(database, "relu", "elu", num_seeds=2)
    lease = claim(database, first)
    commit(database, lease, 1, 2)
    with database.read() as session:
        found = repository.list_runs(session, experiment_id, limit=100)
    assert [run.position for run, _ in found] == list(range(8))
    for run, metrics in found:
        if run.job_id == first:
            assert metrics is not None
            assert metrics.epoch == run.epoch == 2
        else:
            assert run.job_id == second
            assert metrics is None


def test_pages_of_runs_hold_every_run_once(database: Database) -> None:
    experiment_id, _ = post_jobs(database, "relu", "elu", num_seeds=2)
    positions: list[int] = []
    while True:
        last = positions[-1] if positions else -1
        with database.read() as session:
            page = repository.list_runs(session, experiment_id, limit=3, after_position=last)
        if not page:
            break
        positions += [run.position for run, _ in page]
    assert positions == list(range(8))


def test_runs_are_found_by_what_they_are(database: Database) -> None:
    experiment_id, (first, _) = post_jobs(database, "relu", "elu", num_seeds=2)
    claim(database, first)

    def found(**wanted: Any) -> set[tuple[str, float, int]]:
        with database.read() as session:
            page = repository.list_runs(session, experiment_id, RunFilter(**wanted), limit=100)
        return {(run.activation, run.rate, run.seed) for run, _ in page}

    assert found(activations=["elu"], rates=[0.2]) == {("elu", 0.2, 0), ("elu", 0.2, 1)}
    assert found(seeds=[1], rates=[0.0]) == {("relu", 0.0, 1), ("elu", 0.0, 1)}
    assert {activation for activation, _, _ in found(states=["running"])} == {"relu"}
    assert found(activations=["gelu"]) == set()


# --- progress


def test_progress_counts_runs_and_epochs(database: Database) -> None:
    experiment_id, (first, second, third) = post_jobs(database, "relu", "elu", "tanh")
    assert progress(database, experiment_id) == Progress(12, 0, 0, 36, 0)
    train_to_the_end(database, first)
    assert progress(database, experiment_id) == Progress(12, 4, 0, 36, 12)
    lease = claim(database, second)
    commit(database, lease, 1)
    assert progress(database, experiment_id) == Progress(12, 4, 0, 36, 16)
    with database.write() as session:
        queue.rewind(session, lease, 0)
    assert progress(database, experiment_id) == Progress(12, 4, 0, 36, 12)
    fail(database, third)
    assert progress(database, experiment_id) == Progress(12, 4, 4, 36, 12)


def test_a_run_that_diverged_has_no_epochs_left_to_wait_for(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    measured = rows(database, lease, 1)
    with database.write() as session:
        queue.commit_epoch(session, lease, measured, diverged=[measured[0].run_id])
    assert progress(database, experiment_id) == Progress(4, 1, 0, 12, 3 + 3 * 1)


def test_the_progress_of_several_experiments_is_told_apart(database: Database) -> None:
    first, second = post(database), post(database, num_seeds=3)
    train_to_the_end(database, job_ids(database, second)[0])
    assert progress(database, first) == Progress(4, 0, 0, 12, 0)
    assert progress(database, second) == Progress(6, 6, 0, 18, 18)


def test_numerics_are_told_once_however_many_jobs_decided_alike(database: Database) -> None:
    experiment_id, ids = post_jobs(database, "relu", "elu", "tanh")
    for job_id, threads in zip(ids[:2], (1, 1), strict=True):
        lease = claim(database, job_id)
        with database.write() as session:
            queue.fix_numerics(session, lease, {"device": "cpu", "threads": threads})
    with database.read() as session:
        stored = session.get_one(Experiment, experiment_id)
        assert repository.distinct_numerics(session, [stored]) == {experiment_id: [{"device": "cpu", "threads": 1}]}
        assert repository.num_claims(session, experiment_id) == 2


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
        repository.start_cancelling(session, experiment_id)
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
            repository.resume_experiment(session, experiment_id)
        assert everything(database) == before


# --- deleting


def test_a_deleted_experiment_is_gone_for_everyone_at_once(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    with database.write() as session:
        repository.mark_deleted(session, experiment_id)
    assert listed(database) == []
    for act in (repository.get_experiment, repository.start_cancelling, repository.resume_experiment,
                repository.mark_deleted):  # fmt: skip
        with pytest.raises(NotFoundError), database.write() as session:
            act(session, experiment_id)


def test_what_has_not_finished_cannot_be_deleted(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    with pytest.raises(ConflictError, match="queued; cancel it"), database.write() as session:
        repository.mark_deleted(session, experiment_id)
    claim(database, job_id)
    with pytest.raises(ConflictError, match="running; cancel it"), database.write() as session:
        repository.mark_deleted(session, experiment_id)


@pytest.mark.parametrize("piece", [1, 5, 1000])
def test_purging_in_pieces_leaves_no_row_and_touches_no_other_experiment(
    piece: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "METRICS_PER_PURGE", piece)
    kept_id, (kept,) = post_jobs(database, "relu")
    train_to_the_end(database, kept)
    before = everything(database)
    doomed_id, ids = post_jobs(database, "relu", "elu")
    for job_id in ids:
        train_to_the_end(database, job_id)
    with database.write() as session:
        repository.mark_deleted(session, doomed_id)
    for _ in range(50):
        with database.write() as session:
            if repository.purge_some(session, doomed_id):
                break
    assert everything(database) == before
    assert experiment(database, kept_id).deleted_at is None


def test_purging_what_is_gone_already_is_no_error(database: Database) -> None:
    with database.write() as session:
        assert repository.purge_some(session, new_id())


# --- idempotency keys


def reserve(database: Database, key: str, *, experiment_id: str, pause_s: float = 0.0) -> IdempotencyKey | None:
    with database.write() as session:
        row = repository.reserve_idempotency_key(session, key, body_hash="hash")
        if row is not None:
            time.sleep(pause_s)
            row.status, row.response, row.experiment_id = 202, "{}", experiment_id
        return row


def test_a_key_is_reserved_once_and_then_answers(database: Database) -> None:
    experiment_id = new_id()
    assert reserve(database, "k", experiment_id=experiment_id) is not None
    assert reserve(database, "k", experiment_id=new_id()) is None
    with database.read() as session:
        found = repository.find_idempotent(session, "k")
        assert repository.find_idempotent(session, "other") is None
    assert found is not None
    assert (found.status, found.body_hash, found.experiment_id) == (202, "hash", experiment_id)


def test_a_reservation_whose_request_failed_is_free_again(database: Database) -> None:
    with suppress(RuntimeError), database.write() as session:
        assert repository.reserve_idempotency_key(session, "k", body_hash="hash") is not None
        raise RuntimeError
    assert reserve(database, "k", experiment_id=new_id()) is not None


def test_of_many_requests_with_one_key_one_gets_it_and_the_others_wait_for_its_answer(database: Database) -> None:
    together = threading.Barrier(8)

    def request(_: int) -> tuple[bool, int]:
        together.wait()
        mine = reserve(database, "k", experiment_id=new_id(), pause_s=0.1) is not None
        with database.read() as session:
            found = repository.find_idempotent(session, "k")
            assert found is not None
            return mine, found.status

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(request, range(8)))
    assert sum(mine for mine, _ in answers) == 1
    assert {status for _, status in answers} == {202}


def test_keys_are_forgotten_after_their_time(database: Database) -> None:
    for key in ("old", "young"):
        reserve(database, key, experiment_id=new_id())
    with database.write() as session:
        session.get_one(IdempotencyKey, "old").created_at = START
    with database.write() as session:
        assert repository.forget_idempotency_keys(session, START + timedelta(seconds=1)) == 1
    assert reserve(database, "old", experiment_id=new_id()) is not None
    assert reserve(database, "young", experiment_id=new_id()) is None
