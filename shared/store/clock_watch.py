"""Whether the database's clock can tell just now how long a worker has been silent.

Leases are judged by that clock, and renewed by clocks that nobody sets. After a machine has slept, or was set right,
all workers seem to have been silent for as long as it jumped.
"""

import time
from datetime import datetime

import structlog
from sqlalchemy import select

from shared.store.db import Database
from shared.store.types import now

log = structlog.get_logger(__name__)


class ClockWatch:
    """Compares the database's clock with this process's own from sweep to sweep."""

    def __init__(self, lease_ttl_s: float) -> None:
        self._lease_ttl_s = lease_ttl_s
        self._seen: tuple[datetime, float] | None = None
        self._steady_from_s = 0.0

    def is_steady(self, database: Database) -> bool:
        """False for the length of a lease after a jump, in which every worker that lives is heard of again.

        Raises: ServiceUnavailableError.
        """
        asked_s = time.monotonic()
        with database.look() as session:
            moment = session.execute(select(now())).scalar_one()
        answered_s = time.monotonic()
        if self._seen is not None:
            before, before_s = self._seen
            jump_s = (moment - before).total_seconds() - (answered_s - before_s)
            # A worker renews after a third of its lease, so that one that jumped by half of it is not over.
            if abs(jump_s) > self._lease_ttl_s / 2 + (answered_s - asked_s):
                log.warning("the clock jumped, no job is taken back for a while", seconds=round(jump_s, 1))
                self._steady_from_s = answered_s + self._lease_ttl_s
        self._seen = moment, answered_s
        return answered_s >= self._steady_from_s
