"""Which requests are sent again, how often, and after how long."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

FIRST_PAUSE_S = 0.2
TOO_MANY, UNAVAILABLE, CONFLICT = 429, 503, 409
# The connection was never made, so that nothing can have happened.
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True)
class Retries:
    """How stubborn a client is: the most attempts, and the longest that one call may pause in all."""

    attempts: int = 5
    longest_pause_s: float = 60.0

    def send(self, attempt: Callable[[], httpx2.Response], *, repeatable: bool, keyed: bool) -> httpx2.Response:
        """Make a request, again as long as that may help and does no harm.

        Args:
            repeatable: twice does what once does, so that a lost answer may be asked for again.
            keyed: it carries an Idempotency-Key, with which 409 says that the attempt before is not answered yet.
        Raises: httpx2.TransportError: of the last attempt.
        """
        passing = {TOO_MANY} | ({UNAVAILABLE} if repeatable else set()) | ({CONFLICT} if keyed else set())
        left_s = self.longest_pause_s
        for number in range(self.attempts):
            is_last = number == self.attempts - 1
            wanted_s = FIRST_PAUSE_S * 2**number
            try:
                response = attempt()
            except httpx2.TransportError as error:
                if is_last or not (repeatable or isinstance(error, NOT_SENT)):
                    raise
            else:
                wanted_s = max(wanted_s, _retry_after_s(response))
                if is_last or response.status_code not in passing or wanted_s > left_s:
                    return response
            left_s -= wanted_s
            time.sleep(wanted_s)
        raise AssertionError("the last attempt answers or raises")


def _retry_after_s(response: httpx2.Response) -> float:
    """What the service asks for in seconds; 0 where it does not, or names a date as only proxies do."""
    try:
        return max(float(response.headers.get("Retry-After", "0")), 0.0)
    except ValueError:
        return 0.0
