"""`actrobust catalog`: everything that a spec may name."""

import difflib
import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actrobust.client import Json
from actrobust.commands.output import CommandError, table_console, write
from actrobust.commands.service import DataDirOption, UrlOption, open_service

# They are part of every entry and say nothing about this one.
COMMON_FIELDS = {"kind", "label"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def catalog(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[KIND]", help="A part ('activations') or an entry ('gelu').", show_default="all"),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, with the JSON Schema of every entry.")] = False,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show what a spec may name: activations, data sets, presets, ...

    Examples:

        actrobust catalog

        actrobust catalog activations

        actrobust catalog leaky_relu
    """
    with open_service(url=url, data_dir=data_dir) as service:
        everything = service.call(lambda client: client.catalog())
    chosen = choose(everything, kind)
    if as_json:
        write(json.dumps(chosen, indent=2, ensure_ascii=False))
    elif kind is None or kind in everything:
        print_sections(chosen, console=table_console())
    else:
        print_entries(chosen, console=table_console())


def choose(everything: Json, kind: str | None) -> Json:
    """The parts of the catalog that `kind` names: all of it, one part, or each part reduced to the entry of that name.

    Raises: CommandError: nothing of that name.
    """
    if kind is None:
        return everything
    if kind in everything:
        return {kind: everything[kind]}
    found = {part: [e for e in entries if _name(e) == kind] for part, entries in everything.items()}
    if any(found.values()):
        return {part: entries for part, entries in found.items() if entries}
    known = [*everything, *(_name(entry) for entries in everything.values() for entry in entries)]
    close = difflib.get_close_matches(kind, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else f"its parts are {', '.join(everything)}"
    raise CommandError(f"the catalog has no '{kind}'; {hint}")


def print_sections(sections: Json, *, console: Console) -> None:
    """One table a part, one line an entry."""
    for part, entries in sections.items():
        table = Table(box=box.SIMPLE, title=Text(part), title_justify="left", title_style="bold", show_edge=False)
        table.add_column("name", no_wrap=True)
        table.add_column("what it is", overflow="fold")
        table.add_column("parameters", overflow="fold")
        for entry in entries:
            cells = (_name(entry), str(entry.get("formula") or entry.get("description") or ""), _parameters(entry))
            table.add_row(*(Text(cell) for cell in cells))
        if all("parameters" not in entry for entry in entries):
            table.columns.pop()
        console.print(table)
        console.print()


def print_entries(sections: Json, *, console: Console) -> None:
    """Everything about single entries."""
    for part, entries in sections.items():
        for entry in entries:
            console.print(Text(f"{_name(entry)} ({part})", style="bold"))
            for field in ("title", "description", "formula", "source"):
                if entry.get(field):
                    console.print(Text(f"  {field}: {entry[field]}"))
            for line in _parameter_lines(entry):
                console.print(Text(f"  parameter {line}"))


def _name(entry: Json) -> str:
    return str(entry.get("kind") or entry.get("name"))


def _fields(entry: Json) -> Iterator[tuple[str, Json]]:
    properties = (entry.get("parameters") or {}).get("properties") or {}
    return ((name, schema) for name, schema in properties.items() if name not in COMMON_FIELDS)


def _parameters(entry: Json) -> str:
    return ", ".join(name + _default(schema) for name, schema in _fields(entry))


def _default(schema: Json) -> str:
    if "default" not in schema:
        return ""
    value = schema["default"]
    return f"={value:.6g}" if isinstance(value, float) else f"={json.dumps(value)}"


def _parameter_lines(entry: Json) -> Iterator[str]:
    for name, schema in _fields(entry):
        about = [*_bounds(schema), *([str(schema["description"])] if schema.get("description") else [])]
        yield f"{name}{_default(schema)}" + (f" ({'; '.join(about)})" if about else "")


def _bounds(schema: Json) -> Iterator[str]:
    bounds = [f"{sign} {schema[word]:g}" for word, sign in BOUNDS.items() if isinstance(schema.get(word), int | float)]
    if bounds:
        yield ", ".join(bounds)
    choices: Any = schema.get("enum")
    if choices:
        yield "one of " + ", ".join(json.dumps(choice) for choice in choices)
