"""What is kept of every request: a line in the log and a sample of its time. Neither holds what the client sent."""

import contextlib
import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import structlog
from asgi_correlation_id import correlation_id
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import METHODS

log = structlog.get_logger(__name__)

# Asked for every few seconds, by load balancers and by Prometheus.
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
NOT_TIMED = frozenset({"/metrics"})
NO_ROUTE = "none"
# What nginx writes down when the client left before it was answered.
CLIENT_LEFT = 499


@dataclass
class Access:
    """Times each request, from its first byte to the beginning of the answer and to its end."""

    app: ASGIApp
    durations: Histogram

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s, answered_s, status = time.perf_counter(), None, CLIENT_LEFT

        async def send_and_note(message: Message) -> None:
            nonlocal answered_s, status
            if message["type"] == "http.response.start":
                answered_s, status = time.perf_counter(), message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            ended_s = time.perf_counter()
            # Until the answer begins: how long a download or a stream of events lasts, the client decides.
            self._sample(scope, status, (answered_s or ended_s) - began_s)
            _write_line(scope, status, ended_s - began_s)

    def _sample(self, scope: Scope, status: int, duration_s: float) -> None:
        route = _route(scope)
        if route not in NOT_TIMED:
            # Each combination is kept for good: nothing that clients can make up may be among them.
            self.durations.labels(_method(scope), route, str(status)).observe(duration_s)


def _write_line(scope: Scope, status: int, duration_s: float) -> None:
    route = _route(scope)
    is_dull = route in PROBES and status < HTTPStatus.BAD_REQUEST
    log.log(
        logging.DEBUG if is_dull else logging.INFO, "request", method=_method(scope), route=route, status=status,
        duration_ms=round(1000 * duration_s, 1), request_id=correlation_id.get(), **_whose(scope),
    )  # fmt: skip


def _whose(scope: Scope) -> dict[str, str]:
    """The owner, once it is known, and the experiment, if the address holds an id."""
    found: dict[str, str] = {}
    if owner := scope.get("state", {}).get("owner"):
        found["owner"] = owner
    with contextlib.suppress(KeyError, ValueError):
        found["experiment"] = str(UUID(scope.get("path_params", {})["experiment_id"]))
    return found


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", NO_ROUTE)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in {*METHODS, "HEAD", "OPTIONS"} else "other"
