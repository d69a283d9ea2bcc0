"""What every response has, and what happens when something of ours breaks."""

import re
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import FastAPI
from fastapi.requests import Request
from prometheus_client import Histogram
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Access
from api.errors import internal_error
from api.guard import Guard
from shared.settings import Settings

log = structlog.get_logger(__name__)

DOCS_FILES = "/static-offline-docs"
DOCS_PAGES = ("/docs", "/redoc")
CLOSED_CSP = "default-src 'none'; frame-ancestors 'none'"
# Swagger UI and ReDoc start from an inline script and style themselves; ReDoc searches in a worker made from a blob.
DOCS_CSP = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_middleware(app: FastAPI, settings: Settings, durations: Histogram) -> None:
    """Request ids around everything, then the access log, headers and the last resort for errors, and the guard."""
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Envelope)
    app.add_middleware(Access, durations=durations)
    app.add_middleware(CorrelationIdMiddleware, header_name="X-Request-ID", validator=_is_request_id)


def _is_request_id(text: str) -> bool:
    # It is written into logs and answers as it comes.
    return re.fullmatch(r"[A-Za-z0-9._-]{1,128}", text) is not None


@dataclass
class Envelope:
    """Adds the headers, binds the request id to the log, and turns an unexpected exception into a problem document."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                is_static = scope["path"].startswith(DOCS_FILES) and message["status"] == HTTPStatus.OK
                _add_headers(MutableHeaders(scope=message), scope["path"], is_static=is_static)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=correlation_id.get()):
            try:
                await self.app(scope, receive, send_with_headers)
            except ClientDisconnect:
                log.debug("the client left before its request was read")
            except Exception:
                log.exception("unexpected error", method=scope["method"], path=scope["path"])
                if has_started:
                    raise  # the server breaks the connection, so that half an answer is not taken for a whole one
                await internal_error(Request(scope))(scope, receive, send_with_headers)


def _add_headers(headers: MutableHeaders, path: str, *, is_static: bool) -> None:
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "no-referrer")
    headers.setdefault("Content-Security-Policy", DOCS_CSP if path.startswith(DOCS_PAGES) else CLOSED_CSP)
    headers.setdefault("Cache-Control", "public, max-age=86400" if is_static else "no-store")
