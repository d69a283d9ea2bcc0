"""JSON Schema in words, for the reference pages."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]
NAMED_FORMATS = {"uuid", "date-time", "binary"}
WIDTH = 116


def type_in_words(schema: Schema) -> str:
    """A type with its bounds: `integer, 1 to 1000`."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(type_in_words(kind) for kind in schema[several]))
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return _list_in_words(schema)
    kind = schema["format"] if schema.get("format") in NAMED_FORMATS else schema.get("type", "anything")
    return ", ".join([kind, *_bounds(schema)])


def _list_in_words(schema: Schema) -> str:
    if "prefixItems" in schema:
        return "list of " + " and ".join(type_in_words(item) for item in schema["prefixItems"])
    least, most = schema.get("minItems"), schema.get("maxItems")
    how_many = f"{least or 0} to {most} " if most else ""
    return f"list of {how_many}{type_in_words(schema.get('items', {}))}"


def _bounds(schema: Schema) -> list[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    words = []
    if least is not None and most is not None:
        words.append(f"{number(least)} to {number(most)}")
    else:
        words += [f"at least {number(least)}"] if least is not None else []
        words += [f"at most {number(most)}"] if most is not None and above is None else []
    words += [f"above {number(above)}"] if above is not None else []
    words += [f"at most {number(most)}"] if most is not None and above is not None else []
    words += [f"below {number(below)}"] if below is not None else []
    if schema.get("maxLength"):
        words.append(f"{schema.get('minLength', 0)} to {schema['maxLength']} characters")
    if schema.get("pattern"):
        words.append(f"`{schema['pattern']}`")
    return words


def number(value: float) -> str:
    """Large ones as people write them."""
    if isinstance(value, int):
        is_power = value > 10**9 and value & (value - 1) == 0
        return f"2^{value.bit_length() - 1}" if is_power else f"{value:,}"
    return f"{value:g}"


def default_in_words(schema: Schema) -> str:
    """The default as JSON; nothing where there is none."""
    default = schema.get("default")
    return "" if default in (None, "", []) else f"`{json.dumps(default)}`"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return [*(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines), ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def fields(schema: Schema, *, skip: frozenset[str] = frozenset()) -> list[str]:
    """The members of an object as a table."""
    rows = [
        (f"`{name}`", type_in_words(member), default_in_words(member), member.get("description", ""))
        for name, member in schema.get("properties", {}).items()
        if name not in skip
    ]
    return table(("field", "type", "default", "meaning"), rows)


def pretty(value: Any, indent: int = 0) -> str:
    """JSON whose parts stand on one line where they fit."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {pretty(item, indent + 2)}" for key, item in value.items()]
    else:
        parts = [f"{inner}{pretty(item, indent + 2)}" for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([opening, ",\n".join(parts), " " * indent + closing])
