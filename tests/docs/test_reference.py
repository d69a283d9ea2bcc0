import re
from pathlib import Path

import pytest

from docs import make_reference
from docs.schema_words import pretty, type_in_words
from shared.catalog.activations import ACTIVATIONS
from shared.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", make_reference.pages())
def test_a_reference_page_is_up_to_date(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == make_reference.pages()[name], f"docs/{name} is out of date: make docs, or -m docs.make_reference"


def test_the_references_have_what_somebody_looks_for() -> None:
    pages = make_reference.pages()
    assert [kind for kind in ACTIVATIONS if f"\n### {kind}\n" not in pages["reference-spec.md"]] == []
    assert "| `sd` | number, above 0, at most 1,000 | `0.5` |" in pages["reference-spec.md"]
    assert "### GET /experiments/{experiment_id}/robustness\n" in pages["reference-endpoints.md"]
    assert all(f"`ACTROBUST_{name.upper()}`" in pages["reference-settings.md"] for name in Settings.model_fields)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "integer, 1 to 1,000"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "number, above 0, at most 1"),
        ({"type": "integer", "minimum": 0, "exclusiveMaximum": 2**53}, "integer, at least 0, below 2^53"),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, "one of `a`, `b` or null"),
        ({"type": "array", "items": {"$ref": "#/x/Run"}}, "list of [Run](#run)"),
    ],
)
def test_types_are_said_in_words(schema: dict[str, object], words: str) -> None:
    assert type_in_words(schema) == words


def test_json_is_broken_where_a_line_is_full() -> None:
    assert pretty({"a": [1, 2]}) == '{"a": [1, 2]}'
    assert pretty({"a": "x" * 110, "b": [1]}).splitlines() == ["{", f'  "a": "{"x" * 110}",', '  "b": [1]', "}"]


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


def _anchors(file: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
