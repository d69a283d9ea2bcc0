"""How often callers may ask. Counted in this process; a restart forgets."""

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from shared.errors import TooManyRequestsError

# Nobody can guess a key; this only keeps those who try from keeping the database busy.
MOST_FAILURES_PER_MINUTE = 60


class RateLimit:
    """Counts the requests of each owner and the failed attempts to get in from each address, over the last minute."""

    def __init__(self, requests_per_minute: int) -> None:
        self._requests = RateLimitItemPerMinute(requests_per_minute)
        self._failures = RateLimitItemPerMinute(MOST_FAILURES_PER_MINUTE)
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count_request(self, owner: str) -> None:
        """Raises: TooManyRequestsError: that was one too many."""
        self._count(self._requests, "owner", owner)

    def count_failure(self, address: str) -> None:
        """Raises: TooManyRequestsError: that was one too many."""
        self._count(self._failures, "address", address)

    def _count(self, limit: RateLimitItemPerMinute, *whose: str) -> None:
        if self._limiter.hit(limit, *whose):
            return
        wait_s = self._limiter.get_window_stats(limit, *whose).reset_time - time.time()
        detail = f"more than {limit.amount} such requests in a minute; wait as long as 'Retry-After' says"
        raise TooManyRequestsError(detail, retry_after_s=max(1, round(wait_s)))
