"""Entity tags: a client that has the current answer already gets 304 instead of the answer (RFC 9110, section 13)."""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated

from fastapi import Header
from fastapi.requests import Request
from fastapi.responses import Response

# The client keeps the answer, but asks each time whether it still holds.
REVALIDATE = "no-cache"


def weak_tag(*parts: object) -> str:
    """A tag that is the same as long as the parts are: equal meaning, not necessarily equal bytes."""
    return f'W/"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def not_modified(request: Request, tag: str) -> Response | None:
    """The 304 for a client whose `If-None-Match` names the tag, else None."""
    header = ",".join(request.headers.getlist("if-none-match")).strip()
    known = re.findall(r'(?:W/)?("[^"]*")', header)
    if header == "*" or tag.removeprefix("W/") in known:
        return Response(status_code=304, headers=headers_for(tag))
    return None


def headers_for(tag: str) -> Mapping[str, str]:
    """The headers of an answer that has a tag."""
    return {"ETag": tag, "Cache-Control": REVALIDATE}


IfNoneMatch = Annotated[
    str, Header(alias="If-None-Match", description="The `ETag` of the answer that the client has; `*` for any.")
]
OPENAPI_HEADERS = {"ETag": {"description": "Names this state of the answer.", "schema": {"type": "string"}}}
OPENAPI_NOT_MODIFIED = {"description": "Nothing has changed since the answer with this `ETag`."}
