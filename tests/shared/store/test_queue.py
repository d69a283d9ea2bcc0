import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

from shared.errors import LeaseLostError
from shared.store import lifecycle, queue
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.queue import Lease, MetricsRow
from shared.store.states import ExperimentState, JobState, RunState
from shared.store.tables import Job
from shared.store.types import new_id
from tests.shared.store.experiments import (
    TTL_S,
    cancel,
    claim,
    commit,
    everything,
    experiment,
    fail,
    job,
    lose,
    num_rows,
    post_jobs,
    rows,
    runs,
    silence,
    take_back,
    train_to_the_end,
)

# --- claiming


def test_a_waiting_job_is_claimed_once(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    worker_id = new_id()
    with database.write() as session:
        lease = queue.claim(session, job_id, worker_id)
    assert lease == Lease(job_id, token=1)
    with database.write() as session:
        assert queue.claim(session, job_id, new_id()) is None
    claimed = job(database, job_id)
    assert (claimed.state, claimed.token, claimed.worker_id) == (JobState.RUNNING, 1, worker_id)
    assert claimed.claimed_at is not None
    assert claimed.heartbeat_at is None


def test_of_ten_deliveries_at_the_same_moment_one_is_executed(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    together = threading.Barrier(10)

    def deliver(_: int) -> Lease | None:
        together.wait()
        with database.write() as session:
            return queue.claim(session, job_id, new_id())

    with ThreadPoolExecutor(10) as pool:
        leases = list(pool.map(deliver, range(10)))
    assert [lease for lease in leases if lease] == [Lease(job_id, token=1)]
    assert job(database, job_id).token == 1


def test_a_dispatched_job_can_be_claimed_as_well(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    with database.write() as session:
        session.get_one(Job, job_id).state = JobState.DISPATCHED
    assert claim(database, job_id).token == 1


def test_a_job_that_does_not_exist_is_nobodys(database: Database) -> None:
    with database.write() as session:
        assert queue.claim(session, new_id(), new_id()) is None


def test_a_message_that_comes_after_the_end_does_nothing(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    train_to_the_end(database, job_id)
    before = everything(database)
    with database.write() as session:
        assert queue.claim(session, job_id, new_id()) is None
    assert everything(database) == before


def test_the_first_claim_shows_runs_and_experiment_as_running(database: Database) -> None:
    experiment_id, (first, second) = post_jobs(database, "relu", "elu")
    assert experiment(database, experiment_id).state == ExperimentState.QUEUED
    claim(database, first)
    started = experiment(database, experiment_id)
    assert started.state == ExperimentState.RUNNING
    assert started.started_at is not None
    assert {run.state for run in runs(database, first)} == {RunState.RUNNING}
    assert {run.state for run in runs(database, second)} == {RunState.PENDING}
    claim(database, second)
    assert experiment(database, experiment_id).started_at == started.started_at


# --- holding


def test_renewing_moves_the_heartbeat_on(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    silence(database, job_id, claimed_s=100, heartbeat_s=50)
    before = job(database, job_id).heartbeat_at
    with database.write() as session:
        queue.renew(session, lease)
    after = job(database, job_id).heartbeat_at
    assert before is not None
    assert after is not None
    assert (after - before).total_seconds() == pytest.approx(50, abs=5)


def test_numerics_of_the_first_claim_are_kept(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease, first = claim(database, job_id), {"device": "cpu", "threads": 1}
    with database.write() as session:
        assert queue.fix_numerics(session, lease, first) == first
    with database.write() as session:
        queue.release(session, lease)
    lease = claim(database, job_id)
    with database.write() as session:
        assert queue.fix_numerics(session, lease, {"device": "cpu", "threads": 8}) == first
    assert job(database, job_id).numerics == first


def test_what_began_on_a_gpu_goes_on_on_one(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    with database.write() as session:
        queue.fix_numerics(session, lease, {"device": "cuda"})
        queue.release(session, lease)
    assert not_claimed(database, job_id, devices=("any",))
    assert claim(database, job_id).token == 2


def test_a_job_that_asks_for_a_gpu_is_not_claimed_without_one(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu", training={"device": "cuda"})
    assert not_claimed(database, job_id, devices=("any",))
    assert claim(database, job_id).token == 1


def not_claimed(database: Database, job_id: str, *, devices: tuple[str, ...]) -> bool:
    before = everything(database)
    with database.write() as session:
        lease = queue.claim(session, job_id, new_id(), devices=devices)
    return lease is None and everything(database) == before


def test_what_is_known_of_a_run_before_it_trains_is_stored(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    facts = [
        {"id": run.id, "null_loss": 0.1, "null_accuracy": None, "realised_rate": run.rate, "mask_hash": "ab" * 32}
        for run in runs(database, job_id)
    ]
    with database.write() as session:
        queue.describe_runs(session, lease, facts)
    for run in runs(database, job_id):
        assert (run.null_loss, run.null_accuracy, run.realised_rate, run.mask_hash) == (0.1, None, run.rate, "ab" * 32)


def _renew(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.renew(session, lease)


def _commit(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.commit_epoch(session, lease, measured)


def _commit_nothing(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.commit_epoch(session, lease, [])


def _complete(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.complete(session, lease)


def _fail(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.fail(session, lease, "no")


def _checkpoint(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.save_checkpoint(session, lease, [{"file": "x", "sha256": "y", "epoch": 1}])


def _rewind(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.rewind(session, lease, 0)


def _release(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.release(session, lease)


def _start(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.mark_running(session, lease)


def _numerics(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.fix_numerics(session, lease, {"device": "cuda"})


def _describe(session: Session, lease: Lease, measured: list[MetricsRow]) -> None:
    queue.describe_runs(session, lease, [{"id": measured[0].run_id, "null_loss": 7.0}])


WRITES: list[Callable[[Session, Lease, list[MetricsRow]], None]] = [
    _renew, _commit, _commit_nothing, _complete, _fail, _checkpoint, _rewind, _numerics, _describe, _release, _start,
]  # fmt: skip


def assert_takes_no_writes(database: Database, lease: Lease) -> None:
    measured, before = rows(database, lease, 2), everything(database)
    for write in WRITES:
        with pytest.raises(LeaseLostError), database.write() as session:
            write(session, lease, measured)
        assert everything(database) == before, write.__name__


def test_who_holds_an_old_token_writes_nothing(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    old = claim(database, job_id)
    commit(database, old, 1)
    silence(database, job_id, claimed_s=TTL_S + 1, heartbeat_s=TTL_S + 1)
    assert take_back(database, job_id)
    assert_takes_no_writes(database, old)
    new = claim(database, job_id)
    assert new.token == old.token + 1
    assert_takes_no_writes(database, old)


def test_a_job_that_is_over_takes_no_more_writes(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    assert_takes_no_writes(database, train_to_the_end(database, job_id))


def test_a_cancelled_job_takes_no_more_writes(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    with database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
    assert_takes_no_writes(database, lease)


def test_who_wakes_up_after_its_experiment_was_purged_writes_nothing(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    measured = rows(database, lease, 1)
    cancel(database, experiment_id)
    silence(database, job_id, claimed_s=TTL_S + 1, heartbeat_s=TTL_S + 1)
    assert take_back(database, job_id)
    with database.write() as session:
        lifecycle.mark_deleted(session, experiment_id, owner=LOCAL_OWNER)
        assert lifecycle.purge_some(session, experiment_id)
    for write in WRITES:
        with pytest.raises(LeaseLostError), database.write() as session:
            write(session, lease, measured)
    # The loss stays counted, for those who monitor.
    assert {name for name, number in num_rows(database).items() if number} == {"counters"}


def test_an_old_token_confirms_no_cancellation(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lose(database, job_id)
    old, new = Lease(job_id, 1), claim(database, job_id)
    assert new == Lease(job_id, 2)
    with database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
    with database.write() as session:
        assert queue.confirm_cancelled(session, old) is False
    assert job(database, job_id).state == JobState.CANCELLING


def claim_next(database: Database, job_id: str, *, device: str = "any") -> str | None:
    with database.write() as session:
        lease = queue.claim_next(session, job_id, new_id(), devices=[device])
    return lease.job_id if lease else None


def test_the_job_that_was_interrupted_first_comes_before_the_one_rung_for(database: Database) -> None:
    _, (begun_first, begun_second, fresh) = post_jobs(database, "relu", "elu", "tanh")
    lose(database, begun_second)
    lease = claim(database, begun_first)
    silence(database, begun_first, claimed_s=10 * TTL_S, heartbeat_s=None)
    with database.write() as session:
        queue.release(session, lease)
    assert [claim_next(database, fresh) for _ in range(4)] == [begun_first, begun_second, fresh, None]


def test_an_interrupted_job_waits_for_a_worker_of_its_kind(database: Database) -> None:
    _, (interrupted,) = post_jobs(database, "relu", training={"device": "cuda"})
    _, (fresh,) = post_jobs(database, "relu")
    lose(database, interrupted)
    assert [claim_next(database, fresh), claim_next(database, fresh, device="cuda")] == [fresh, interrupted]


def test_a_resumed_experiment_waits_its_turn_again(database: Database) -> None:
    experiment_id, (resumed,) = post_jobs(database, "relu")
    fail(database, resumed)
    with database.write() as session:
        lifecycle.resume_experiment(session, experiment_id, owner=LOCAL_OWNER)
    _, (fresh,) = post_jobs(database, "relu")
    assert claim_next(database, fresh) == fresh
