"""Following an experiment: a stream of events that takes itself up again where it broke off."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2

from actrobust.client import ProblemError, ServiceUnreachableError, _problem, _reason

DONE = "done"
# The service says something every 15 seconds.
SILENCE_S = 45.0
# Without a word for so long the service is given up.
PATIENCE_S = 120.0
LASTING_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# It answers again soon.
PASSING = frozenset({429, 502, 503, 504})


class Event(NamedTuple):
    """What happened: `kind` is `experiment.state`, `job.state`, `run.epoch` or `done`."""

    id: str
    kind: str
    data: dict[str, Any]


def follow(http: httpx2.Client, path: str, last_event_id: str | None = None) -> Iterator[Event]:
    """All events behind the one of this id, until `done`.

    Raises: ProblemError: the service refused; ServiceUnreachableError: it has not answered for two minutes.
    """
    attempts = _Attempts(str(http.base_url))
    while True:
        try:
            with _opened(http, path, last_event_id) as messages:
                attempts.opened()
                for message in messages:
                    event = Event(message.id, message.event, json.loads(message.data))
                    last_event_id = event.id
                    attempts.succeeded()
                    yield event
                    if event.kind == DONE:
                        return
            attempts.failed("the stream ended too early")
        except httpx2.TransportError as error:
            attempts.failed(_reason(error))
        except ProblemError as problem:
            if problem.status not in PASSING:
                raise
            attempts.failed(str(problem))


@contextmanager
def _opened(http: httpx2.Client, path: str, last_event_id: str | None) -> Iterator[httpx2.EventSource]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    timeout = httpx2.Timeout(**{**http.timeout.as_dict(), "read": SILENCE_S})
    with http.sse(path, headers=headers, timeout=timeout) as source:
        if source.response.is_error:
            source.response.read()
            raise _problem(source.response)
        yield source


class _Attempts:
    """How long to wait between attempts, and when to give up."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened_at_s: float | None = None
        self.succeeded()

    def succeeded(self) -> None:
        self._pause_s, self._failing_since_s = FIRST_PAUSE_S, time.monotonic()

    def opened(self) -> None:
        self._opened_at_s = time.monotonic()

    def failed(self, reason: str) -> None:
        """Wait before the next attempt.

        Raises: ServiceUnreachableError: that was the last one.
        """
        now_s = time.monotonic()
        # There may have been nothing to tell for hours; one that breaks off at once is as bad as none.
        if self._opened_at_s is not None and now_s - self._opened_at_s > LASTING_S:
            self.succeeded()
        self._opened_at_s = None
        if now_s - self._failing_since_s > PATIENCE_S:
            raise ServiceUnreachableError(self._url, reason)
        time.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
