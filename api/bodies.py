"""Reading a JSON body from somebody who may be mistaken or hostile."""

import json
from collections.abc import Iterator
from email.message import Message
from typing import Any, NoReturn

from fastapi.requests import Request
from starlette.exceptions import HTTPException

from api.errors import MOST_ERRORS, MalformedBodyError
from shared.errors import FieldProblem, InvalidSpecError

# The largest sensible spec has some hundred values.
MOST_VALUES = 10_000


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, if it claims to be JSON and is small enough.

    Raises: HTTPException: 415 or 413.
    """
    _check_content_type(request)
    claimed = request.headers.get("content-length", "")
    if claimed.isascii() and claimed.isdigit() and int(claimed[:20]) > max_bytes:
        raise _too_large(max_bytes)
    # The claim may be a lie, and a chunked body makes none.
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _check_content_type(request: Request) -> None:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "none/none")
    subtype = message.get_content_subtype()
    is_json = message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
    if not is_json:
        raise HTTPException(415, "the body must be JSON: send the header 'Content-Type: application/json'")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "the body must not be compressed")


def _too_large(max_bytes: int) -> HTTPException:
    # The connection stays open: the server throws away what still comes. If it closed, many a client would hear of a
    # broken connection instead of the reason.
    return HTTPException(413, f"the body must be at most {max_bytes} bytes")


def parse_json(body: bytes) -> Any:
    """What the body says, if it is I-JSON (RFC 7493): UTF-8, unique names, finite numbers, text any database can keep.

    Raises:
        MalformedBodyError: it is not.
        InvalidSpecError: a text has characters that nothing can store, or there are absurdly many values.
    """
    if not body.strip():
        raise _malformed('the body is empty; {"preset": "harrison-multivariate"} or even {} is a complete spec')
    try:
        document = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _malformed(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start + 1} is not UTF-8") from None
    except ValueError:
        raise _malformed("a number has more digits than any field can take") from None
    except RecursionError:
        raise _malformed("it is nested too deeply") from None
    _check_values(document)
    return document


def _malformed(detail: str) -> MalformedBodyError:
    return MalformedBodyError([FieldProblem(detail, "json_invalid", pointer="")])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _malformed("an object has the same field twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not JSON; numbers are finite")


# Where a value stands: its name or index, and where that stands. A rendered pointer for every value would cost the
# length of all names above it, each time.
Place = tuple["Place", str | int] | None


def _check_values(document: Any) -> None:
    problems = []
    for place, value in _values(document):
        if isinstance(value, str) and not _is_storable(value):
            detail = "this text holds a NUL or half a surrogate pair, which cannot be stored"
            problems.append(FieldProblem(detail, "string_unicode", pointer=_pointer(place)))
        if len(problems) == MOST_ERRORS:
            break
    if problems:
        raise InvalidSpecError(problems)


def _values(document: Any) -> Iterator[tuple[Place, Any]]:
    """Every name and value of `document` with its place; without recursion, since depth is the sender's.

    Raises: InvalidSpecError: there are absurdly many.
    """
    waiting: list[tuple[Place, Any]] = [(None, document)]
    num_values = 1
    while waiting:
        place, value = waiting.pop()
        yield place, value
        if not isinstance(value, dict | list):
            continue
        num_values += len(value)
        if num_values > MOST_VALUES:
            raise InvalidSpecError([FieldProblem(f"a spec has at most {MOST_VALUES} values", "too_large", pointer="")])
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for step, member in members:
            if isinstance(step, str):
                yield (place, step), step
            waiting.append(((place, step), member))


def _pointer(place: Place) -> str:
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(str(step).replace("~", "~0").replace("/", "~1"))
    return "".join("/" + step for step in reversed(steps))


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
