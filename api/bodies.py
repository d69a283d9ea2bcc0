"""Reading a JSON body from somebody who may be mistaken or hostile."""

import json
from collections import Counter
from collections.abc import Iterator
from email.message import Message
from typing import Any, NoReturn

from fastapi.requests import Request
from starlette.exceptions import HTTPException

from api.errors import MalformedBodyError
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
    # What is left of the body stays unread, so nothing more can follow on this connection.
    return HTTPException(413, f"the body must be at most {max_bytes} bytes", headers={"Connection": "close"})


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
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _malformed(f"one object has the field '{twice[:80]}' twice")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not JSON; numbers are finite")


def _check_values(document: Any) -> None:
    problems = []
    for count, (pointer, value) in enumerate(_values(document, ""), start=1):
        if count > MOST_VALUES:
            detail = f"a spec has at most {MOST_VALUES} values"
            raise InvalidSpecError([FieldProblem(detail, "too_large", pointer="")])
        if isinstance(value, str) and not _is_storable(value):
            detail = "this text holds a NUL or half a surrogate pair, which cannot be stored"
            problems.append(FieldProblem(detail, "string_unicode", pointer=pointer))
    if problems:
        raise InvalidSpecError(problems)


def _values(document: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Every name and value below `document` with its JSON pointer; without recursion, since depth is the sender's."""
    waiting = [(pointer, document)]
    while waiting:
        pointer, value = waiting.pop()
        yield pointer, value
        if isinstance(value, dict):
            for name, member in value.items():
                path = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
                yield path, name
                waiting.append((path, member))
        elif isinstance(value, list):
            waiting += [(f"{pointer}/{index}", item) for index, item in enumerate(value)]


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
