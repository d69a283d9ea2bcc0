import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from shared.errors import ServiceUnavailableError
from shared.store import lifecycle, queue
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.queue import Lease
from shared.store.states import JobState
from tests.shared.store.experiments import claim, experiment, job, post_jobs, silence
from worker.lease_keeper import LONGEST_INTERVAL_S, LeaseKeeper, StopReason

TTL_S = 1.5  # a commit on a busy machine takes a good part of a second


def never() -> bool:
    return False


def keeper(database: Database, lease: Lease, *, ttl_s: float = TTL_S) -> LeaseKeeper:
    return LeaseKeeper(database, lease, ttl_s=ttl_s, draining=never, claimed_at=time.monotonic())


def wait_for_stop(kept: LeaseKeeper, *, at_most_s: float) -> float:
    started = time.monotonic()
    while not kept.stop_requested and time.monotonic() - started < at_most_s:
        time.sleep(0.005)
    return time.monotonic() - started


class AwayDatabase(Database):
    """A database that does not answer."""

    @contextmanager
    def write(self) -> Iterator[Session]:
        raise ServiceUnavailableError("no answer")
        yield  # makes this a generator


def test_a_lease_is_kept_for_as_long_as_its_job_trains(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    with keeper(database, lease) as kept:
        until = time.monotonic() + 2 * TTL_S
        while time.monotonic() < until:
            time.sleep(TTL_S / 4)
            with database.write() as session:
                assert not queue.reap(session, job_id, job(database, job_id).experiment_id, ttl_s=TTL_S, max_losses=3)
            assert not kept.stop_requested
    assert kept.reason is None


def test_after_the_job_nothing_is_renewed_any_more(database: Database) -> None:
    _, (job_id,) = post_jobs(database, "relu")
    with keeper(database, claim(database, job_id)):
        pass
    silence(database, job_id, claimed_s=100, heartbeat_s=100)
    before = job(database, job_id).heartbeat_at
    time.sleep(TTL_S)
    assert job(database, job_id).heartbeat_at == before


def test_a_cancellation_stops_the_job_within_a_third_of_the_lease(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    with keeper(database, claim(database, job_id)) as kept:
        with database.write() as session:
            lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
        assert wait_for_stop(kept, at_most_s=5) < TTL_S
    assert kept.reason is StopReason.LOST
    assert job(database, job_id).state == JobState.CANCELLING
    assert experiment(database, experiment_id).state == "cancelling"


def test_a_lease_that_passed_to_another_stops_the_job(database: Database) -> None:
    experiment_id, (job_id,) = post_jobs(database, "relu")
    lease = claim(database, job_id)
    with keeper(database, lease) as kept:
        with database.write() as session:
            queue.release(session, lease)
        claim(database, job_id)
        assert wait_for_stop(kept, at_most_s=5) < TTL_S
    assert kept.reason is StopReason.LOST
    assert experiment(database, experiment_id).state == "running"


def test_who_cannot_renew_stops_before_the_lease_may_pass_to_another(sqlite_url: str) -> None:
    database = AwayDatabase(sqlite_url)
    with keeper(database, Lease("00000000-0000-7000-8000-000000000000", 1)) as kept:
        assert not kept.stop_requested
        assert wait_for_stop(kept, at_most_s=5) < TTL_S
    assert kept.reason is StopReason.LOST
    database.close()


def test_a_process_that_was_stopped_wakes_up_knowing_that_it_is_too_late(sqlite_url: str) -> None:
    """Its renewing thread was stopped as well, so nobody has told it yet."""
    database = Database(sqlite_url)
    kept = keeper(database, Lease("00000000-0000-7000-8000-000000000000", 1))
    time.sleep(TTL_S)
    assert kept.stop_requested
    assert kept.reason is StopReason.LOST
    database.close()


def test_a_claim_that_took_long_counts_from_before_it(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    kept = LeaseKeeper(database, Lease("x", 1), ttl_s=30, draining=never, claimed_at=time.monotonic() - 29)
    assert kept.stop_requested
    assert kept.is_lost
    database.close()


def test_a_lease_that_is_lost_stays_lost_also_when_the_process_drains(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    kept = LeaseKeeper(database, Lease("x", 1), ttl_s=30, draining=lambda: True, claimed_at=time.monotonic() - 29)
    assert kept.stop_requested
    assert kept.reason is StopReason.LOST
    database.close()


def test_a_drain_stops_the_job_at_once(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    drains: list[bool] = []
    kept = LeaseKeeper(database, Lease("x", 1), ttl_s=30, draining=lambda: bool(drains), claimed_at=time.monotonic())
    assert not kept.stop_requested
    drains.append(True)
    assert kept.stop_requested
    assert kept.reason is StopReason.DRAINING
    database.close()


@pytest.mark.parametrize(("ttl_s", "interval_s"), [(0.6, 0.2), (3.0, 1.0), (30.0, LONGEST_INTERVAL_S)])
def test_a_lease_is_renewed_at_least_three_times_in_its_life_and_every_few_seconds(
    ttl_s: float, interval_s: float, sqlite_url: str
) -> None:
    database = Database(sqlite_url)
    assert keeper(database, Lease("x", 1), ttl_s=ttl_s).interval_s == pytest.approx(interval_s)
    database.close()
