import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.errors import ConflictError, LeaseLostError
from shared.store import lifecycle, queue
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.queue import Lease
from shared.store.states import ExperimentState, JobState, RunState
from shared.store.types import new_id
from tests.shared.store.experiments import (
    TTL_S,
    claim,
    commit,
    complete,
    everything,
    experiment,
    job,
    lose,
    post_jobs,
    runs,
    silence,
    take_back,
    train_to_the_end,
)

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
        assert not take_back(database, job_id)
        assert job(database, job_id).state == JobState.RUNNING
    for losses, (claimed_s, heartbeat_s) in enumerate([(31, None), (1000, 31), (31, 31)], start=1):
        silence(database, job_id, claimed_s=claimed_s, heartbeat_s=heartbeat_s)
        with database.read() as session:
            assert queue.silent_jobs(session, TTL_S) == [(job_id, experiment_id)]
        assert take_back(database, job_id, max_losses=10)
        assert (job(database, job_id).state, job(database, job_id).losses) == (JobState.PENDING, losses)
        claim(database, job_id)


def test_a_lost_job_waits_again_with_its_checkpoints(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    with database.write() as session:
        queue.save_checkpoint(session, lease, [{"file": "a", "sha256": "1", "epoch": 1}])
    silence(database, job_id, claimed_s=100, heartbeat_s=100)
    assert take_back(database, job_id)
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
        assert not take_back(database, job_id)
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
    assert [take_back(database, job_id), take_back(database, job_id)] == [True, False]
    assert job(database, job_id).losses == 1


def test_a_lost_worker_of_a_cancelled_job_ends_it(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    claim(database, job_id)
    with database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
    silence(database, job_id, claimed_s=100, heartbeat_s=100)
    assert take_back(database, job_id, max_losses=1)
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
                    lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
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


def reject(database: Database, job_id: str, *, max_losses: int = 3) -> None:
    lease = claim(database, job_id)
    with database.write() as session:
        queue.reject(session, lease, "the data set is not there", max_losses=max_losses)


def test_a_job_that_a_worker_is_not_fit_for_waits_its_turn_again(database: Database) -> None:
    _, (job_id, other) = post_jobs(database, "relu", "elu")
    reject(database, job_id)
    rejected = job(database, job_id)
    assert (rejected.state, rejected.losses, rejected.worker_id) == (JobState.PENDING, 1, None)
    assert {run.state for run in runs(database, job_id)} == {RunState.PENDING}
    with database.write() as session:
        lease = queue.claim_next(session, other, new_id(), devices=["any"])
    assert lease is not None
    assert lease.job_id == other, "it is not taken for one that was interrupted"


def test_a_job_that_no_worker_is_fit_for_fails_with_the_reason(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    for _ in range(3):
        reject(database, job_id)
    assert (job(database, job_id).state, job(database, job_id).error) == (JobState.FAILED, "the data set is not there")
    assert experiment(database, experiment_id).state == ExperimentState.FAILED


def test_who_holds_an_old_token_rejects_nothing(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    old = claim(database, job_id)
    silence(database, job_id, claimed_s=TTL_S + 1, heartbeat_s=None)
    assert take_back(database, job_id)
    before = everything(database)
    with pytest.raises(LeaseLostError), database.write() as session:
        queue.reject(session, old, "no", max_losses=3)
    assert everything(database) == before
