"""How often callers may ask. Counted in this process; a restart forgets."""

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from shared.errors import TooManyRequestsError

# Nobody can guess a key; this only keeps those who try from keeping the database busy.
MOST_FAILURES_PER_MINUTE = 60
# A small request may ask for thousands of rows; each takes a tenth of a millisecond to write.
MOST_RUNS_PER_MINUTE = 100_000
# To tell what it would cost takes a tenth of that, and forms ask as one types.
CHECKS_PER_RUN = 10


class RateLimit:
    """Counts each owner's requests and runs, and each address's failed attempts to get in, over the last minute."""

    def __init__(self, requests_per_minute: int, *, most_runs: int) -> None:
        self._requests = RateLimitItemPerMinute(requests_per_minute)
        self._runs = RateLimitItemPerMinute(max(MOST_RUNS_PER_MINUTE, most_runs))
        self._checked = RateLimitItemPerMinute(CHECKS_PER_RUN * self._runs.amount)
        self._failures = RateLimitItemPerMinute(MOST_FAILURES_PER_MINUTE)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count_request(self, owner: str) -> None:
        """Raises: TooManyRequestsError: that was one too many."""
        self._count(self._requests, "owner", owner, detail=f"more than {self._requests.amount} requests in a minute")

    def count_runs(self, owner: str, num_runs: int) -> None:
        """Raises: TooManyRequestsError: so many more runs are too many."""
        detail = f"{num_runs} more runs would be more than {self._runs.amount} posted in a minute"
        self._count(self._runs, "runs", owner, cost=num_runs, detail=detail)

    def count_checked(self, owner: str, num_runs: int) -> None:
        """Raises: TooManyRequestsError: so many more runs are too many to be checked."""
        detail = f"{num_runs} more runs would be more than {self._checked.amount} checked in a minute"
        self._count(self._checked, "checked", owner, cost=num_runs, detail=detail)

    def count_failure(self, address: str) -> None:
        """Raises: TooManyRequestsError: that was one too many."""
        detail = f"more than {self._failures.amount} requests without a valid API key in a minute"
        self._count(self._failures, "address", address, detail=detail)

    def _count(self, limit: RateLimitItemPerMinute, *whose: str, detail: str, cost: int = 1) -> None:
        if self._limiter.hit(limit, *whose, cost=cost):
            return
        wait_s = self._limiter.get_window_stats(limit, *whose).reset_time - time.time()
        detail = f"{detail}; wait as long as 'Retry-After' says"
        raise TooManyRequestsError(detail, retry_after_s=max(1, round(wait_s)))
