"""What every catalog entry is: a closed pydantic model with its parameters, bounds, formula and source.

A new entry is one class with a `kind` of its own in the module of its family; the spec, `GET /catalog`, the engines
and the tests find it there.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

Task = Literal["regression", "classification"]


def one_line(text: str) -> str:
    """A text that stands in tables and logs; ValueError unless it is one line of printable characters."""
    if not text.isprintable():
        raise ValueError("this must be one line of printable characters")
    return text


class ClosedModel(BaseModel):
    """Part of a spec: unknown fields, wrong types, NaN and infinity are errors; immutable once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _described(schema: dict[str, Any], entry: type[Any]) -> None:
    """What a reader of the OpenAPI document learns of an entry."""
    schema["description"] = f"{entry.title}: {entry.formula}. Source: {entry.source}."


class Entry(ClosedModel):
    """One thing a spec may name, told apart from its family by `kind`."""

    model_config = ConfigDict(json_schema_extra=_described)

    title: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]

    kind: str


EntryT = TypeVar("EntryT", bound=Entry)


def family(base: type[EntryT]) -> dict[str, type[EntryT]]:
    """All entries below `base` by their `kind`, in the order in which they are written down."""
    entries: dict[str, type[EntryT]] = {}
    for cls in base.__subclasses__():
        if "kind" in cls.__annotations__:
            entries[cls.model_fields["kind"].default] = cls
        entries.update(family(cls))
    return entries


def suggestion(name: str, known: list[str]) -> str:
    """A half sentence that leads a mistyped name to a known one."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else "allowed: " + ", ".join(f"'{kind}'" for kind in known)


def one_of(base: type[EntryT], noun: str, *, shorthand: bool = False) -> Any:
    """The type of a field that holds any entry of a family, chosen by `kind`.

    Args:
        noun: what the entries are called in error messages.
        shorthand: also accept the bare kind, `"relu"` for `{"kind": "relu"}`.
    """
    entries = family(base)

    def check_kind(value: object) -> object:
        if shorthand and isinstance(value, str):
            value = {"kind": value}
        if isinstance(value, base):
            return value
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            allowed = ", ".join(f"'{kind}'" for kind in entries)
            raise PydanticCustomError("missing_kind", f"this must be an object with a 'kind'; allowed: {allowed}")
        if value["kind"] not in entries:
            hint = suggestion(value["kind"], list(entries))
            raise PydanticCustomError("unknown_kind", f"this {noun} is not in the catalog; {hint}")
        return value

    union: Any = Union[tuple(entries.values())]  # noqa: UP007 (the members are known at run time only)
    chosen = Annotated[union, Field(discriminator="kind")] if len(entries) > 1 else union
    accepted = Union[str, chosen] if shorthand else chosen  # noqa: UP007 (the same)
    return Annotated[chosen, BeforeValidator(check_kind, json_schema_input_type=accepted)]
