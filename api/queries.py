"""Kinds of query parameters that several calls share."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


class ClosedQuery(BaseModel):
    """The query parameters of a call; a misspelt one is an error, not a wider filter."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _rfc_3339(value: Any) -> Any:
    if isinstance(value, str) and not _RFC_3339.fullmatch(value):
        raise ValueError("this must be a time as in 2026-01-31T18:30:00Z; a plus sign in a URL is written %2B")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time is beyond the years 1 to 9999") from None


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("this must not hold a NUL")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_in_utc)]
Label = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_without_nul)]
Rate = Annotated[float, Field(ge=0, lt=1)]
# What fits a column of whole numbers on every database.
WholeNumber = Annotated[int, Field(ge=0, lt=2**31)]
MOST_CHOICES = 100
