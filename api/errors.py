"""From errors to `application/problem+json` (RFC 9457); nothing else knows which HTTP status an error has."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from asgi_correlation_id import correlation_id
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import Response
from sqlalchemy.exc import TimeoutError as NoFreeConnectionError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from shared import errors
from shared.errors import FieldProblem

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 5
# A hostile body can be wrong in a million places.
MOST_ERRORS = 50
LONGEST_TEXT = 500
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class MalformedBodyError(errors.InvalidSpecError):
    """The body cannot be read as JSON at all."""


@dataclass(frozen=True)
class Kind:
    """One kind of problem; without a `name` the status says it all."""

    status: int
    name: str | None = None
    title: str | None = None


INTERNAL = Kind(500)
NOT_FOUND = Kind(404)
INVALID_PARAMETER = Kind(422, "invalid-parameter", "A parameter is not valid")
UNAVAILABLE = Kind(503)
KINDS: dict[type[Exception], Kind] = {
    MalformedBodyError: Kind(400, "malformed-body", "The body is not JSON"),
    errors.InvalidSpecError: Kind(422, "invalid-spec", "The spec is not valid"),
    errors.DatasetMissingError: Kind(422, "dataset-missing", "The data set is not on this machine"),
    errors.InvalidParameterError: INVALID_PARAMETER,
    errors.IdempotencyKeyReusedError: Kind(422, "idempotency-key-reused", "The key belongs to another request"),
    errors.InvalidKeyError: Kind(401, "invalid-api-key", "No valid API key"),
    errors.TooManyRequestsError: Kind(429, "too-many-requests", "Too many requests"),
    errors.NotFoundError: NOT_FOUND,
    errors.ConflictError: Kind(409, "conflict", "The request does not fit the present state"),
    errors.ServiceUnavailableError: UNAVAILABLE,
    errors.OutdatedSchemaError: Kind(503, "outdated-schema", "The database's tables are out of date"),
    NoFreeConnectionError: UNAVAILABLE,
}


def register_handlers(app: FastAPI) -> None:
    """Answer every error with a problem document.

    None needs a thread: that there are no more of them must be said, too.
    """
    app.add_exception_handler(errors.ActrobustError, _domain_error)
    app.add_exception_handler(NoFreeConnectionError, _domain_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


def problem(
    request: Request,
    kind: Kind,
    detail: str,
    *,
    faults: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response that describes an error."""
    document: dict[str, Any] = {
        "type": f"urn:actrobust:problem:{kind.name}" if kind.name else "about:blank",
        "title": kind.title or HTTPStatus(kind.status).phrase,
        "status": kind.status,
        "detail": detail,
        "instance": quote(request.scope["path"]),
        "request_id": correlation_id.get(),
    }
    if faults:
        document["errors"] = [_fault(fault) for fault in faults[:MOST_ERRORS]]
    body = json.dumps(document, ensure_ascii=False).encode(errors="replace")
    return Response(body, kind.status, headers=dict(headers or {}), media_type=PROBLEM_JSON)


def internal_error(request: Request) -> Response:
    """The answer to a fault of ours; the log alone knows more."""
    return problem(request, INTERNAL, "something went wrong on our side; the log tells more under this request_id")


def _fault(fault: FieldProblem) -> dict[str, str]:
    place = {"parameter": fault.parameter} if fault.parameter is not None else {"pointer": fault.pointer or ""}
    texts = {**place, "detail": fault.detail, "type": fault.type}
    return {name: text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " ..." for name, text in texts.items()}


async def _domain_error(request: Request, error: Exception) -> Response:
    kind = next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)
    if kind is UNAVAILABLE:
        log.warning("unavailable", reason=str(error))
        detail = "a part of the service does not answer; try again in a moment"
        return problem(request, kind, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
    faults: Sequence[FieldProblem] = getattr(error, "problems", ())
    detail = _summary(faults) if faults else str(error)
    return problem(request, kind, detail, faults=faults, headers=_headers(error))


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, errors.InvalidKeyError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, errors.TooManyRequestsError):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, errors.ServiceUnavailableError):
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {}


def _summary(faults: Sequence[FieldProblem]) -> str:
    if len(faults) == 1:
        return "1 thing is wrong; 'errors' says where, and what is allowed"
    shown = "" if len(faults) <= MOST_ERRORS else f" the first {MOST_ERRORS} of them"
    return f"{len(faults)} things are wrong; 'errors' says where{shown}, and what is allowed"


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    detail = error.detail
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed_methods(request))
        detail = f"this address answers {headers['Allow']} only"
    elif error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "there is nothing at this address; /docs lists what there is"
    return problem(request, Kind(error.status_code), detail, headers=headers)


def _allowed_methods(request: Request) -> list[str]:
    """All methods of an address; the router itself names those of the first route only."""
    scope = dict(request.scope)
    routes = request.app.router.routes
    return [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] == Match.FULL for route in routes)
    ]


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = error.errors()
    if any(detail["loc"][0] == "path" for detail in details):
        return problem(request, NOT_FOUND, "there is nothing with this id")
    faults = [_parameter_fault(detail) for detail in details]
    return problem(request, INVALID_PARAMETER, _summary(faults), faults=faults)


def _parameter_fault(detail: Mapping[str, Any]) -> FieldProblem:
    name = str(detail["loc"][1] if len(detail["loc"]) > 1 else detail["loc"][0])
    text = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        text = "this parameter does not exist; /docs lists those that do"
    return FieldProblem(text, str(detail["type"]), parameter=name)
