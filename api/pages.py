"""Opaque page tokens: where a listing goes on, bound to the listing that gave them out."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, TypeAdapter

from api.queries import ClosedQuery
from shared.errors import InvalidParameterError

PositionT = TypeVar("PositionT", bound=tuple[Any, ...])


class PageQuery(ClosedQuery):
    """The parameters of every listing."""

    page_size: Annotated[int, Field(ge=1, le=1000, description="Most items of a page.")] = 50
    page_token: Annotated[str | None, Field(max_length=1000, description="`next_page_token` of the page before.")] = (
        None
    )

    def listing(self, *belongs_to: str) -> str:
        """What is listed, apart from the page: the same text for the same filters and order."""
        filters = self.model_dump_json(exclude={"page_size", "page_token"})
        return hashlib.sha256("\n".join([*belongs_to, filters]).encode()).hexdigest()[:16]


class Tokens(Generic[PositionT]):
    """Writes and reads the tokens of one kind of listing.

    Args:
        position: the type of a place in the listing, a tuple.
    """

    def __init__(self, position: type[PositionT]) -> None:
        self._adapter: TypeAdapter[PositionT] = TypeAdapter(position)

    def write(self, position: PositionT, *, listing: str) -> str:
        """The token of the page that follows `position`."""
        content = json.dumps([listing, self._adapter.dump_python(position, mode="json")])
        return urlsafe_b64encode(content.encode()).decode().rstrip("=")

    def read(self, token: str | None, *, listing: str) -> PositionT | None:
        """The position after which the page starts; None for the first page.

        Raises: InvalidParameterError: the token is not one of this listing's.
        """
        if not token:
            return None
        try:
            given_for, position = json.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            found = self._adapter.validate_python(position)
        except (ValueError, TypeError, RecursionError):
            raise _invalid("this is not a page token; take 'next_page_token' as it came, or leave it out") from None
        if given_for != listing:
            raise _invalid("this token belongs to a listing with other filters or another order; start anew")
        return found


def _invalid(detail: str) -> InvalidParameterError:
    return InvalidParameterError("page_token", detail, "invalid_page_token")


ItemT = TypeVar("ItemT")


def split(items: Sequence[ItemT], page_size: int) -> tuple[Sequence[ItemT], bool]:
    """A page out of up to `page_size + 1` items, and whether another one follows."""
    return items[:page_size], len(items) > page_size


def body(items: Iterable[bytes], next_page_token: str | None) -> bytes:
    """A page of items that are JSON already."""
    # A token is base64: nothing in it would have to be escaped.
    more = f',"next_page_token":"{next_page_token}"'.encode() if next_page_token else b""
    return b'{"items":[' + b",".join(items) + b"]" + more + b"}"
