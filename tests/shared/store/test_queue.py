import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from shared.errors import ConflictError, LeaseLostError
from shared.store import queue, repository
from shared.store.db import Database
from shared.store.queue import ROWS_PER_INSERT, ConflictingMetricsError, Lease, MetricsRow
from shared.store.states import ExperimentState, JobState, Outcome, RunState
from shared.store.tables import EpochMetrics, Job, Run
from shared.store.types import new_id
from tests.shared.store.experiments import (
    claim,
    commit,
    complete,
    epochs,
    everything,
    experiment,
    job,
    post_jobs,
    rows,
    runs,
    silence,
    train_to_the_end,
)  # fmt: skip

TTL_S = 30.0


def reap(database: Database, job_id: str, *, max_losses: int = 3, ttl_s: float = TTL_S) -> bool:
    experiment_id = job(database, job_id).experiment_id
    with database.write() as session:
        return queue.reap(session, job_id, experiment_id, ttl_s=ttl_s, max_losses=max_losses)


def lose(database: Database, job_id: str, *, max_losses: int = 3) -> None:
    """Claim a job, fall silent for longer than the lease lasts, and have it taken back."""
    claim(database, job_id)
    silence(database, job_id, claimed_s=TTL_S + 1, heartbeat_s=None)
    assert reap(database, job_id, max_losses=max_losses)


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
    assert reap(database, job_id)
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
        repository.start_cancelling(session, experiment_id)
    assert_takes_no_writes(database, lease)


def test_an_old_token_confirms_no_cancellation(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lose(database, job_id)
    old, new = Lease(job_id, 1), claim(database, job_id)
    assert new == Lease(job_id, 2)
    with database.write() as session:
        repository.start_cancelling(session, experiment_id)
    with database.write() as session:
        assert queue.confirm_cancelled(session, old) is False
    assert job(database, job_id).state == JobState.CANCELLING


# --- epochs


def test_an_epoch_is_written_with_every_number_as_it_was(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    run_ids = [run.id for run in runs(database, job_id)]
    measured = [
        MetricsRow(run_ids[0], 1, 0.1 + 0.2, 5e-324, 1 / 3, 0.25, 1e308, -0.0, 0.5, 0.125, None),
        MetricsRow(run_ids[1], 1, None, None, nonfinite="nan"),
        MetricsRow(run_ids[2], 1, 1.0, None, nonfinite="-inf"),
    ]
    with database.write() as session:
        queue.commit_epoch(session, lease, measured)
    with database.read() as session:
        for row in measured:
            stored = session.get_one(EpochMetrics, (row.run_id, row.epoch))
            assert MetricsRow(**{name: getattr(stored, name) for name in vars(row)}) == row


def test_an_epoch_committed_again_changes_nothing(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1, 2)
    before = everything(database)
    commit(database, lease, 2)
    after = everything(database)
    for name in ("epoch_metrics", "runs", "experiments"):
        assert after[name] == before[name]


def test_an_epoch_measured_again_with_other_numbers_is_an_alarm(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    before = everything(database)
    other = rows(database, lease, 1, val_loss=0.123)
    with pytest.raises(ConflictingMetricsError), database.write() as session:
        queue.commit_epoch(session, lease, other)
    assert everything(database) == before


def test_an_epoch_of_which_one_number_is_now_missing_is_an_alarm(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    with pytest.raises(ConflictingMetricsError), database.write() as session:
        queue.commit_epoch(session, lease, rows(database, lease, 1, train_loss=None, nonfinite="nan"))


def test_a_commit_moves_the_runs_on_and_keeps_the_lease(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    silence(database, job_id, claimed_s=100, heartbeat_s=100)
    commit(database, lease, 1)
    assert {run.epoch for run in runs(database, job_id)} == {1}
    assert not reap(database, job_id)


def test_a_run_that_diverged_is_over_and_its_job_goes_on(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    broken, *others = (run.id for run in runs(database, job_id))
    measured = rows(database, lease, 2)
    with database.write() as session:
        queue.commit_epoch(session, lease, measured, diverged=[broken])
    with database.write() as session:
        queue.commit_epoch(session, lease, [row for row in rows(database, lease, 3) if row.run_id != broken])
    complete(database, lease)
    states = {run.id: (run.state, run.outcome, run.epoch) for run in runs(database, job_id)}
    assert states.pop(broken) == (RunState.SUCCEEDED, Outcome.DIVERGED, 2)
    assert set(states) == set(others)
    assert set(states.values()) == {(RunState.SUCCEEDED, Outcome.OK, 3)}
    assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED


def test_an_epoch_of_many_runs_is_one_commit_however_many_statements_it_takes(database: Database) -> None:
    num_runs = 2 * ROWS_PER_INSERT + 100
    experiment_id, (job_id,) = post_jobs(database, "relu")
    more = {"experiment_id": experiment_id, "job_id": job_id, "activation": "relu", "rate": 0.5, "state": "pending"}
    with database.write() as session:
        session.execute(insert(Run), [{**more, "id": new_id(), "seed": n, "position": n} for n in range(4, num_runs)])
    lease = claim(database, job_id)
    measured = rows(database, lease, 1)
    assert len(measured) == num_runs
    with database.write() as session:
        queue.commit_epoch(session, lease, measured)
    assert {run.epoch for run in runs(database, job_id)} == {1}
    assert len(epochs(database, job_id)) == num_runs
    assert set(map(tuple, epochs(database, job_id).values())) == {(1,)}
    with pytest.raises(ConflictingMetricsError), database.write() as session:
        queue.commit_epoch(session, lease, [*measured[:-1], replace(measured[-1], val_loss=-1.0)])


# --- checkpoints and going back


def test_a_job_points_at_its_checkpoints(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    pointers = [{"file": "b", "sha256": "2", "epoch": 2}, {"file": "a", "sha256": "1", "epoch": 1}]
    with database.write() as session:
        queue.save_checkpoint(session, lease, pointers)
    assert job(database, job_id).checkpoints == pointers


def test_going_back_to_a_checkpoint_forgets_what_was_measured_later(database: Database) -> None:
    _, (job_id, other_id) = post_jobs(database, "relu", "elu")
    lease, other = claim(database, job_id), claim(database, other_id)
    commit(database, lease, 1, 2, 3)
    commit(database, other, 1, 2, 3)
    with database.write() as session:
        queue.rewind(session, lease, 1)
    assert set(map(tuple, epochs(database, job_id).values())) == {(1,)}
    assert {run.epoch for run in runs(database, job_id)} == {1}
    assert set(map(tuple, epochs(database, other_id).values())) == {(1, 2, 3)}
    commit(database, lease, 2, 3)
    complete(database, lease)
    assert set(map(tuple, epochs(database, job_id).values())) == {(1, 2, 3)}


def test_going_back_before_a_divergence_lets_the_run_go_on(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    early, late, *_ = (run.id for run in runs(database, job_id))
    with database.write() as session:
        queue.commit_epoch(session, lease, [MetricsRow(early, 1, 0.25, 0.0)], diverged=[early])
    with database.write() as session:
        queue.commit_epoch(session, lease, [MetricsRow(late, 2)], diverged=[late])
    with database.write() as session:
        queue.rewind(session, lease, 1)
    states = {run.id: (run.state, run.outcome) for run in runs(database, job_id)}
    assert states[early] == (RunState.SUCCEEDED, Outcome.DIVERGED), "its checkpoint knows that it diverged"
    assert states[late] == (RunState.RUNNING, None)


# --- leaving


def test_a_released_job_waits_again_and_nothing_counts_as_lost(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    commit(database, lease, 1)
    with database.write() as session:
        queue.save_checkpoint(session, lease, [{"file": "a", "sha256": "1", "epoch": 1}])
        queue.release(session, lease)
    released = job(database, job_id)
    assert (released.state, released.losses, released.worker_id) == (JobState.PENDING, 0, None)
    assert [pointer["epoch"] for pointer in released.checkpoints] == [1]
    assert {run.state for run in runs(database, job_id)} == {RunState.PENDING}
    assert claim(database, job_id).token == 2


def test_tokens_only_grow(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    tokens = []
    for _ in range(3):
        lease = claim(database, job_id)
        tokens.append(lease.token)
        with database.write() as session:
            queue.release(session, lease)
    lose(database, job_id)
    tokens.append(claim(database, job_id).token)
    assert tokens == [1, 2, 3, 5]


def test_an_experiment_succeeds_with_its_last_job(database: Database) -> None:
    experiment_id, (first, second) = post_jobs(database, "relu", "elu")
    train_to_the_end(database, first)
    assert experiment(database, experiment_id).state == ExperimentState.RUNNING
    assert experiment(database, experiment_id).finished_at is None
    train_to_the_end(database, second)
    finished = experiment(database, experiment_id)
    assert (finished.state, finished.error) == (ExperimentState.SUCCEEDED, None)
    assert finished.finished_at is not None
    assert {run.state for job_id in (first, second) for run in runs(database, job_id)} == {RunState.SUCCEEDED}


def test_two_last_jobs_that_end_at_the_same_moment_end_the_experiment(database: Database) -> None:
    for _ in range(5):
        experiment_id, ids = post_jobs(database, "relu", "elu")
        leases = [claim(database, job_id) for job_id in ids]
        together = threading.Barrier(2)

        def end(lease: Lease, together: threading.Barrier = together) -> None:
            together.wait()
            complete(database, lease)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(end, leases))
        assert experiment(database, experiment_id).state == ExperimentState.SUCCEEDED


def test_a_job_that_cannot_be_done_fails_with_its_reason_and_the_others_go_on(database: Database) -> None:
    experiment_id, (first, second) = post_jobs(database, "relu", "elu")
    lease = claim(database, first)
    with database.write() as session:
        queue.fail(session, lease, "FileNotFoundError: no data")
    assert job(database, first).state == JobState.FAILED
    assert {run.state for run in runs(database, first)} == {RunState.FAILED}
    assert experiment(database, experiment_id).state == ExperimentState.RUNNING
    train_to_the_end(database, second)
    failed = experiment(database, experiment_id)
    assert failed.state == ExperimentState.FAILED
    assert failed.error == "1 of 2 jobs failed; relu: FileNotFoundError: no data"
    assert {run.state for run in runs(database, second)} == {RunState.SUCCEEDED}


# --- taking back


def test_a_lease_lasts_as_long_as_its_last_sign_of_life_is_young(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    claim(database, job_id)
    for claimed_s, heartbeat_s in [(29, None), (1000, 29), (1000, 0)]:
        silence(database, job_id, claimed_s=claimed_s, heartbeat_s=heartbeat_s)
        with database.read() as session:
            assert queue.silent_jobs(session, TTL_S) == []
        assert not reap(database, job_id)
        assert job(database, job_id).state == JobState.RUNNING
    for losses, (claimed_s, heartbeat_s) in enumerate([(31, None), (1000, 31), (31, 31)], start=1):
        silence(database, job_id, claimed_s=claimed_s, heartbeat_s=heartbeat_s)
        with database.read() as session:
            assert queue.silent_jobs(session, TTL_S) == [(job_id, experiment_id)]
        assert reap(database, job_id, max_losses=10)
        assert (job(database, job_id).state, job(database, job_id).losses) == (JobState.PENDING, losses)
        claim(database, job_id)


def test_a_lost_job_waits_again_with_its_checkpoints(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    with database.write() as session:
        queue.save_checkpoint(session, lease, [{"file": "a", "sha256": "1", "epoch": 1}])
    silence(database, job_id, claimed_s=100, heartbeat_s=100)
    assert reap(database, job_id)
    lost = job(database, job_id)
    assert (lost.state, lost.losses, lost.worker_id, lost.error) == (JobState.PENDING, 1, None, None)
    assert {run.state for run in runs(database, job_id)} == {RunState.PENDING}
    assert len(lost.checkpoints) == 1


def test_only_leased_jobs_are_taken_back(database: Database) -> None:
    _, (waiting, done) = post_jobs(database, "relu", "elu")
    train_to_the_end(database, done)
    for job_id in (waiting, done):
        silence(database, job_id, claimed_s=1000, heartbeat_s=1000)
        before = everything(database)
        assert not reap(database, job_id)
        assert everything(database) == before


def test_a_job_that_was_lost_three_times_fails_and_the_others_go_on(database: Database) -> None:
    experiment_id, (deadly, other) = post_jobs(database, "relu", "elu")
    for losses in (1, 2):
        lose(database, deadly)
        assert (job(database, deadly).state, job(database, deadly).losses) == (JobState.PENDING, losses)
    lose(database, deadly)
    failed = job(database, deadly)
    assert (failed.state, failed.losses) == (JobState.FAILED, 3)
    assert failed.error is not None
    assert "lost 3 times" in failed.error
    assert {run.state for run in runs(database, deadly)} == {RunState.FAILED}
    assert experiment(database, experiment_id).state == ExperimentState.RUNNING
    train_to_the_end(database, other)
    assert experiment(database, experiment_id).state == ExperimentState.FAILED


def test_two_reapers_count_one_loss(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    claim(database, job_id)
    silence(database, job_id, claimed_s=100, heartbeat_s=None)
    assert [reap(database, job_id), reap(database, job_id)] == [True, False]
    assert job(database, job_id).losses == 1


def test_a_lost_worker_of_a_cancelled_job_ends_it(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    claim(database, job_id)
    with database.write() as session:
        repository.start_cancelling(session, experiment_id)
    silence(database, job_id, claimed_s=100, heartbeat_s=100)
    assert reap(database, job_id, max_losses=1)
    assert (job(database, job_id).state, job(database, job_id).error) == (JobState.CANCELLED, None)
    assert experiment(database, experiment_id).state == ExperimentState.CANCELLED
    assert {run.state for run in runs(database, job_id)} == {RunState.CANCELLED}


def test_cancelling_racing_with_the_end_leaves_exactly_one_terminal_state(database: Database) -> None:
    outcomes: list[Any] = []
    for _ in range(6):
        experiment_id, (job_id,) = post_jobs(database, "relu")
        lease = claim(database, job_id)
        commit(database, lease, 1, 2, 3)
        together = threading.Barrier(2)

        def end(lease: Lease = lease, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                complete(database, lease)
            except LeaseLostError:
                with database.write() as session:
                    assert queue.confirm_cancelled(session, lease)
                return False
            return True

        def cancel(experiment_id: str = experiment_id, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                with database.write() as session:
                    repository.start_cancelling(session, experiment_id)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            ended, cancelled = pool.submit(end), pool.submit(cancel)
            assert ended.result() != cancelled.result()
        expected = ("succeeded", "succeeded") if ended.result() else ("cancelled", "cancelled")
        assert (job(database, job_id).state, experiment(database, experiment_id).state) == expected
        outcomes.append(expected)
    assert outcomes
