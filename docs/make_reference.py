"""`python -m docs.make_reference`: the reference pages, from the code. A test fails while they are out of date."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs.schema_words import Schema, default_in_words, fields, number, pretty, table, type_in_words

FOLDER = Path(__file__).parent
MADE = "<!-- Made by `make docs` from the code; changes here are lost. -->"
FAMILIES = (
    ("Activations", '`activations`: by kind, `"relu"`, or as an object with parameters and a label.', "activations"),
    ("Data sets", "`dataset`", "datasets"),
    ("Corruptions", "`corruption`", "corruptions"),
    ("Architectures", "`architecture`", "architectures"),
    ("Optimisers", "`training.optimizer`", "optimizers"),
    ("Schedules", "`training.schedule`", "schedules"),
    ("Losses", "`training.loss`: by kind alone.", "losses"),
)


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    made = {
        "reference-spec.md": spec_page(),
        "reference-endpoints.md": endpoints_page(),
        "reference-settings.md": settings_page(),
    }
    return {name: "\n".join(lines).rstrip() + "\n" for name, lines in made.items()}


def spec_page() -> list[str]:
    """Every field of a spec, and everything that it may name."""
    from shared.spec import ExperimentSpec

    schema = ExperimentSpec.model_json_schema()
    return [
        "# Reference: the spec", "", MADE, "",
        "What `POST /experiments` takes. Every field may be left out: its value is the preset's, else the data set's,",
        "else the one shown here. Fields beside `preset` are merged into it (RFC 7396), except that lists, and objects",
        "whose `kind` changes, replace the preset's. Unknown fields are errors.", "",
        *_part(schema), "## training", "", *_part(schema["$defs"]["Training"]),
        "## until", "", *schema["$defs"]["Until"]["description"].splitlines(), "", *fields(schema["$defs"]["Until"]),
        "## margin", "", schema["$defs"]["Margin"]["description"], "", *fields(schema["$defs"]["Margin"]),
        *_families(), *_presets(),
    ]  # fmt: skip


PLACES = {
    "dataset": "a [data set](#data-sets)", "corruption": "a [corruption](#corruptions)",
    "architecture": "an [architecture](#architectures)", "activations": "list of 1 to 100 [activations](#activations)",
    "training": "[object](#training)", "margin": "[object](#margin) or null",
    "until": "[object](#until) or null",
    "optimizer": "an [optimiser](#optimisers)", "schedule": "a [schedule](#schedules)",
}  # fmt: skip
# What stands in the class is hardly ever used: the data set's defaults come before.
BY_DATASET = "the data set's"


def _part(schema: Schema) -> list[str]:
    rows = []
    for name, member in schema["properties"].items():
        default = member.get("default")
        shown = BY_DATASET if name in PLACES and default is not None else default_in_words(member)
        rows.append((f"`{name}`", PLACES.get(name) or type_in_words(member), shown, member.get("description", "")))
    return table(("field", "type", "default", "meaning"), rows)


def _families() -> Iterator[str]:
    from api.endpoints.catalog import get_catalog

    catalog = get_catalog().model_dump()
    for title, place, name in FAMILIES:
        yield from (f"## {title}", "", place, "")
        for entry in catalog[name]:
            yield from _entry(entry)


def _entry(entry: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {entry['kind']}", "", f"{entry['title']}. `{entry['formula']}`", "")
    facts = [f"Source: {entry['source']}."]
    facts += ["Its parameters are learned."] if entry.get("learnable") else []
    facts += [f"For {' and '.join(entry['fits'])}."] if "fits" in entry else []
    facts += [f"For {entry['task']}."] if "task" in entry else []
    yield from (" ".join(facts), "")
    parameters = entry["parameters"]
    if set(parameters["properties"]) - {"kind", "label"}:
        yield from fields(parameters, skip=frozenset({"kind", "label"}))
    if "defaults" in entry:
        yield from ("What the rest of a spec is unless it says otherwise:", "")
        yield from ("```json", pretty(entry["defaults"]), "```", "")


def _presets() -> Iterator[str]:
    from shared.catalog.presets import PRESETS

    yield from ("## Presets", "", "`preset`", "")
    yield from table(
        ("name", "what it is", "source"), [(f"`{p.name}`", p.description, p.source) for p in PRESETS.values()]
    )


def endpoints_page() -> list[str]:
    """Every call, from the OpenAPI document."""
    from api.app import create_app
    from shared.settings import Settings

    document = create_app(Settings(_env_file=None)).openapi()
    lines = [
        "# Reference: the HTTP interface", "", MADE, "",
        "The same as `/openapi.json`, `/docs` and `/redoc` of a running service tell. Ids are UUIDv7, times RFC 3339",
        "in UTC, fractions in [0, 1]; a number that is not finite is null beside its name in `nonfinite`. Errors are",
        "`application/problem+json`. A service that has API keys wants one: `Authorization: Bearer KEY`.", "",
    ]  # fmt: skip
    for tag in document["tags"]:
        lines += [f"## {tag['name'].capitalize()}", "", tag["description"], ""]
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if operation["tags"][0] == tag["name"]:
                    lines += _operation(f"{method.upper()} {path}", operation)
    return [*lines, *_schemas(document)]


def _operation(call: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {call}", "", f"{operation['summary']}. {operation['description']}", "")
    rows = [
        (f"`{p['name']}`", p["in"], type_in_words(p["schema"]), default_in_words(p["schema"]), p.get("description", ""))
        for p in operation.get("parameters", [])
    ]
    if rows:
        yield from table(("parameter", "in", "type", "default", "meaning"), rows)
    if "requestBody" in operation:
        yield from ("Body: [a spec](reference-spec.md). Examples:", "")
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            yield from (f"{example['summary']}:", "", "```json", pretty(example["value"]), "```", "")
    answers = sorted(operation["responses"].items())
    yield from table(("status", "answer", "meaning"), [_answer(*each) for each in answers])
    for status, answer in answers:
        yield from _example(status, answer)


def _answer(status: str, answer: Mapping[str, Any]) -> tuple[str, str, str]:
    kinds = []
    for media_type, content in answer.get("content", {}).items():
        reference = content.get("schema", {}).get("$ref")
        kinds.append(f"{type_in_words({'$ref': reference})} as `{media_type}`" if reference else f"`{media_type}`")
    return status, ", ".join(kinds), answer["description"]


def _example(status: str, answer: Mapping[str, Any]) -> Iterator[str]:
    content = answer.get("content", {}).get("application/json")
    if status[0] == "2" and content:
        yield from (f"A {status}:", "", "```json", pretty(_without_specs(content["example"])), "```", "")


def _without_specs(value: Any) -> Any:
    """The same with every spec cut short; a page of its own has them."""
    if isinstance(value, list):
        return [_without_specs(item) for item in value]
    if not isinstance(value, dict):
        return value
    is_spec = {"dataset", "num_seeds"} <= value.keys()
    return "…" if is_spec else {name: _without_specs(item) for name, item in value.items()}


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    """What answers hold; what a spec holds is a page of its own."""
    from shared.spec import ExperimentSpec

    of_specs = {*ExperimentSpec.model_json_schema()["$defs"], "ExperimentSpec", "PresetName"}
    yield from ("## What answers hold", "")
    for name, schema in sorted(document["components"]["schemas"].items()):
        if name in of_specs or name.endswith("Request"):
            continue
        yield from (f"### {name}", "", schema.get("description", ""), "")
        if "enum" in schema:
            yield from (f"{type_in_words(schema)}.".capitalize(), "")
        if "properties" in schema:
            yield from fields(schema)
    yield from ("### ExperimentSpec", "", "See [the spec](reference-spec.md).")


def settings_page() -> list[str]:
    """Every environment variable."""
    from shared.settings import Settings

    schema = Settings.model_json_schema()
    rows = []
    for name, member in schema["properties"].items():
        plain = [kind for kind in member.get("anyOf", [member]) if kind.get("type") != "null"]
        words = type_in_words({**plain[0], "format": None})
        default = member.get("default")
        shown = (
            f"`{number(default) if isinstance(default, float) else default}`" if default not in (None, "") else "none"
        )
        rows.append((f"`ACTROBUST_{name.upper()}`", words, shown, member.get("description", "")))
    return [
        "# Reference: settings", "", MADE, "",
        "Environment variables, or lines of a file `.env` in the working directory. An empty one counts as unset.",
        "Options of the command line win over them.", "",
        *table(("variable", "type", "default", "meaning"), rows),
    ]  # fmt: skip


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
