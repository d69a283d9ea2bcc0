"""What a training process does: announce itself, claim a job, train it, and leave the job in a known state."""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Self, TypeVar

import structlog
from sqlalchemy.orm import Session

from shared.errors import ActrobustError, LeaseLostError, ServiceUnavailableError, UnfitWorkerError
from shared.evidence.growth import decide_after
from shared.settings import Settings
from shared.store import counters, presence, queue
from shared.store.counters import CounterName
from shared.store.db import Database
from shared.store.doorbell import WORKER_SILENCE_S, Unanswered, dispatch, queues_of, unanswered
from shared.store.queue import Lease
from shared.store.types import new_id
from worker.lease_keeper import LeaseKeeper, StopReason
from worker.tally import Tally

log = structlog.get_logger(__name__)

T = TypeVar("T")

# A process that lacks what a job needs is free at once, and would take job after job only to hand it back.
UNFIT_PAUSE_S = 30.0


class Process:
    """This training process: its database connections and its name among the workers."""

    _current: ClassVar["Process | None"] = None

    def __init__(self, settings: Settings, draining: Callable[[], bool]) -> None:
        self.settings, self.draining = settings, draining
        self.database = Database(settings.effective_database_url)
        self.worker_id = new_id()
        self.epochs = Tally()
        self._left = threading.Event()
        self._unfit_until = 0.0
        # Of messages: odd while one is being answered.
        self._num_begun_and_ended = 0
        self._last_look: tuple[Unanswered | None, int] = (None, 0)

    @classmethod
    def current(cls, settings: Settings, draining: Callable[[], bool]) -> Self:
        """The one of this process, made at the first call: connections must not be shared across a fork."""
        if cls._current is None:
            cls._current = cls(settings, draining)
        assert isinstance(cls._current, cls)
        return cls._current

    def announce_forever(self) -> None:
        """Keep telling that this process is alive, from a thread of its own."""

        def announce() -> None:
            while not self._left.is_set():
                self._tell(
                    lambda session: presence.announce(session, self.worker_id, device=self.settings.worker_device)
                )
                if self.is_deaf():
                    log.error("no message reaches this process, it makes room for another")
                    self.leave()
                    os._exit(1)
                self._left.wait(WORKER_SILENCE_S / 3)

        threading.Thread(target=announce, name="presence", daemon=True).start()

    def leave(self) -> None:
        """Offer no more work slots."""
        self._left.set()
        self._tell(lambda session: presence.leave(session, self.worker_id))

    def _tell(self, presence_of_mine: Callable[[Session], None]) -> None:
        """Write whether this process is there, and what it has trained since the last time."""
        num_epochs = self.epochs.take()
        try:
            with self.database.write() as session:
                presence_of_mine(session)
                if num_epochs:
                    counters.add(session, CounterName.EPOCHS_TRAINED, num_epochs)
        except Exception as error:  # noqa: BLE001 (a thread that ends would take this process from the living)
            self.epochs.add(num_epochs)
            log.warning("presence not told", error=f"{type(error).__name__}: {error}")

    def is_deaf(self) -> bool:
        """Whether a job's message was sent again since the last time, and this process has been idle all the while.

        Once a pipe between Celery's parent and its child has lost a byte, no message is ever whole again, and the child
        waits for the rest for ever.
        """
        try:
            with self.database.look() as session:
                now_waiting = unanswered(session, devices=queues_of(self.settings.worker_device))
        except Exception as error:  # noqa: BLE001 (a thread that ends would take this process from the living)
            log.debug("waiting jobs not looked up", error=str(error))
            return False
        (before, num_before), num_now = self._last_look, self._num_begun_and_ended
        self._last_look = now_waiting, num_now
        if now_waiting is None or before is None or num_now % 2 or self.draining():
            return False
        return num_now == num_before and now_waiting.is_another_message_than(before)

    def train(self, job_id: str) -> None:
        """Train what was interrupted elsewhere, then this job; return at once when it is somebody else's or over."""
        self._num_begun_and_ended += 1
        try:
            self._train(job_id)
        finally:
            self._num_begun_and_ended += 1

    def _train(self, job_id: str) -> None:
        # Loads torch: seconds that must not pass between the claim and the first renewal.
        import worker.training_job  # noqa: F401

        while not self.draining() and time.monotonic() >= self._unfit_until:
            claimed_at = time.monotonic()
            lease = self._claim(job_id)
            if lease is None:
                return
            with structlog.contextvars.bound_contextvars(job=lease.job_id, token=lease.token):
                log.info("job claimed")
                self._hold(lease, claimed_at)
            if not self.draining():
                self._decide(lease)
                dispatch(self.database, self.settings)

    def _claim(self, job_id: str) -> Lease | None:
        devices = queues_of(self.settings.worker_device)
        with self.database.write() as session:
            return queue.claim_next(session, job_id, self.worker_id, devices=devices)

    def _hold(self, lease: Lease, claimed_at: float) -> None:
        from worker.training_job import TrainingJob

        ttl_s, has_left = self.settings.lease_ttl_s, False
        with LeaseKeeper(self.database, lease, ttl_s=ttl_s, draining=self.draining, claimed_at=claimed_at) as keeper:
            try:
                has_left = TrainingJob(self.database, self.settings, lease, keeper, epochs=self.epochs).run()
            except (LeaseLostError, ServiceUnavailableError) as error:
                log.warning("job given up", reason=str(error))
                keeper.reason = StopReason.LOST
            except UnfitWorkerError as error:
                log.warning("job rejected", reason=str(error))
                self._unfit_until = time.monotonic() + UNFIT_PAUSE_S
                self._try(partial(self._reject, lease, str(error)))
            except Exception as error:
                log.exception("job failed")
                reason = _for_clients(error, lease)
                self._try(lambda: self._fail(lease, reason))
        if keeper.reason is StopReason.LOST and not has_left:
            self._try(lambda: self._give_up(lease))

    def _decide(self, lease: Lease) -> None:
        """If this was the last job that somebody waited for to see whether more seeds are needed: see."""
        try:
            decide_after(self.database, lease.job_id)
        except Exception as error:  # noqa: BLE001 (the job has ended well, and a worker is needed for others)
            log.warning("decision left to the reconciler", error=f"{type(error).__name__}: {error}")

    def _fail(self, lease: Lease, reason: str) -> None:
        with self.database.write() as session:
            queue.fail(session, lease, reason)

    def _reject(self, lease: Lease, reason: str) -> None:
        with self.database.write() as session:
            queue.reject(session, lease, reason, max_losses=self.settings.max_losses)

    def _give_up(self, lease: Lease) -> None:
        with self.database.write() as session:
            cancelled = queue.confirm_cancelled(session, lease)
        log.info("job cancelled" if cancelled else "lease lost, job left to others")

    def _try(self, action: Callable[[], None]) -> None:
        """Tell the database how a job ended; if it cannot be told, the lease runs out and the job is taken back."""
        try:
            action()
        except (LeaseLostError, ServiceUnavailableError) as error:
            log.warning("job left to the reaper", error=str(error))


def _for_clients(error: Exception, lease: Lease) -> str:
    """Why a job failed, without what a stranger should not read: paths, addresses, statements."""
    if isinstance(error, ActrobustError):
        return str(error)
    return f"training raised {type(error).__name__}; the worker's log tells more under job {lease.job_id}"


def retry_while_away(action: Callable[[], T], *, give_up: Callable[[], bool], pause_s: float = 0.5) -> T:
    """Repeat an idempotent transaction until the database answers.

    Args:
        give_up: asked between attempts; once true, the last error is raised.
    """
    while True:
        try:
            return action()
        except ServiceUnavailableError:
            if give_up():
                raise
            time.sleep(pause_s)
