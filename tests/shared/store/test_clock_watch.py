"""A machine that slept, or whose clock was set, has not lost its workers."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from shared.settings import Settings
from shared.store import clock_watch, queue, reconciler
from shared.store.clock_watch import ClockWatch
from shared.store.db import Database
from shared.store.states import JobState
from tests.shared.store.clock import StillClock
from tests.shared.store.experiments import claim, job, post_jobs


class Clocks:
    """That of the database, and the one of this process, which nobody sets."""

    def __init__(self, of_database: StillClock) -> None:
        self.monotonic_s = 1000.0
        self._of_database = of_database

    def go_on(self, seconds: int) -> None:
        self.monotonic_s += seconds
        self.jump(seconds)

    def jump(self, seconds: int) -> None:
        self._of_database.set(self._of_database.now_s + seconds)


@pytest.fixture
def clocks(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocks]:
    """In the test's hands."""
    still = StillClock(database)
    made = Clocks(still)
    monkeypatch.setattr(clock_watch, "time", SimpleNamespace(monotonic=lambda: made.monotonic_s))
    yield made
    still.remove()


def loss_of(database: Database, job_id: str) -> tuple[str, int]:
    found = job(database, job_id)
    return found.state, found.losses


@pytest.mark.parametrize("jump_s", [20, 3600, -3600])
def test_a_worker_that_lives_keeps_its_job_when_the_clock_jumps(
    database: Database, settings: Settings, clocks: Clocks, jump_s: int
) -> None:
    watch = ClockWatch(settings.lease_ttl_s)
    lease = claim(database, post_jobs(database, "relu")[1][0])
    reconciler.sweep(database, settings, watch=watch)
    for _ in range(5):
        clocks.jump(jump_s)
        # The sweep comes before the worker, as it will now and then.
        for _ in range(4):
            reconciler.sweep(database, settings, watch=watch)
            clocks.go_on(10)
            with database.write() as session:
                queue.renew(session, lease)
        assert loss_of(database, lease.job_id) == (JobState.RUNNING, 0)


@pytest.mark.parametrize("jump_s", [0, 3600])
def test_one_that_is_gone_loses_it_a_lease_later_at_most(
    database: Database, settings: Settings, clocks: Clocks, jump_s: int
) -> None:
    watch = ClockWatch(settings.lease_ttl_s)
    lease = claim(database, post_jobs(database, "relu")[1][0])
    reconciler.sweep(database, settings, watch=watch)
    clocks.jump(jump_s)
    for _ in range(3):
        reconciler.sweep(database, settings, watch=watch)
        assert loss_of(database, lease.job_id) == (JobState.RUNNING, 0)
        clocks.go_on(10)
    clocks.go_on(1)
    reconciler.sweep(database, settings, watch=watch)
    assert job(database, lease.job_id).losses == 1
