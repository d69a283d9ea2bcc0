"""Keeps a lease alive while its job trains, and says when to stop."""

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

import structlog

from shared.errors import LeaseLostError
from shared.store import queue
from shared.store.db import Database
from shared.store.queue import Lease

log = structlog.get_logger(__name__)

# A cancellation is noticed by the renewal it refuses: look every few seconds even when the lease is long.
LONGEST_INTERVAL_S = 2.0


class StopReason(StrEnum):
    """Why training stops before its end."""

    LOST = "lost"
    DRAINING = "draining"


class LeaseKeeper:
    """A thread that renews the lease by the monotonic clock, at least every third of its time to live.

    It stops the job when the lease is refused (cancelled, or passed to another), when the worker drains, and when no
    renewal has got through for so long that the lease may pass to another soon.

    Args:
        claimed_at: the monotonic clock before the claim.
    """

    def __init__(
        self, database: Database, lease: Lease, *, ttl_s: float, draining: Callable[[], bool], claimed_at: float
    ) -> None:
        self.database, self.lease, self.ttl_s, self.draining = database, lease, ttl_s, draining
        self.interval_s = min(ttl_s / 3, LONGEST_INTERVAL_S)
        self.reason: StopReason | None = None
        self._renewed_at = claimed_at
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def stop_requested(self) -> bool:
        """Whether training has to end; also checked here, so that a stopped process wakes up knowing it is too late."""
        if self.reason is None and self.draining():
            self.reason = StopReason.DRAINING
        return self.is_lost or self.reason is not None

    @property
    def is_lost(self) -> bool:
        """Whether the lease is refused, or may pass to another soon because no renewal got through."""
        if time.monotonic() - self._renewed_at > self.ttl_s - self.interval_s:
            self.reason = StopReason.LOST
        return self.reason is StopReason.LOST

    def _keep(self) -> None:
        while not self._done.wait(self.interval_s):
            # Counted from before the call: the database's clock was read later than that.
            asked_at = time.monotonic()
            try:
                with self.database.write() as session:
                    queue.renew(session, self.lease)
                self._renewed_at = asked_at
            except LeaseLostError:
                self.reason = StopReason.LOST
                return
            except Exception as error:  # noqa: BLE001 (whatever it is, the next renewal may get through)
                log.warning("lease not renewed", job=self.lease.job_id, error=f"{type(error).__name__}: {error}")
