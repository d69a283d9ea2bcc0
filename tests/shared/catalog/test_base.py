import json
from typing import get_args

import jsonschema
import pytest

from shared.catalog.activations import ACTIVATIONS
from shared.catalog.architectures import ARCHITECTURES
from shared.catalog.base import Entry, suggestion
from shared.catalog.corruptions import CORRUPTIONS
from shared.catalog.datasets import DATASETS
from shared.catalog.losses import LOSSES, LossName
from shared.catalog.optimizers import OPTIMIZERS
from shared.catalog.presets import PRESETS
from shared.catalog.schedules import SCHEDULES
from shared.spec import ExperimentSpec, resolve
from tests.shared.specs import make

FAMILIES: dict[str, dict[str, type[Entry]]] = {
    "activations": {**ACTIVATIONS},
    "architectures": {**ARCHITECTURES},
    "corruptions": {**CORRUPTIONS},
    "datasets": {**DATASETS},
    "losses": {**LOSSES},
    "optimizers": {**OPTIMIZERS},
    "schedules": {**SCHEDULES},
}
ENTRIES = [(family, kind) for family, entries in FAMILIES.items() for kind in entries]

every_entry = pytest.mark.parametrize(("family", "kind"), ENTRIES, ids=[f"{family}-{kind}" for family, kind in ENTRIES])


@every_entry
def test_an_entry_tells_what_it_is_and_where_it_comes_from(family: str, kind: str) -> None:
    entry = FAMILIES[family][kind]
    for text in (entry.title, entry.formula, entry.source):
        assert text
        assert text == text.strip()
    assert kind == kind.lower()
    assert kind.isidentifier()


@every_entry
def test_the_defaults_of_an_entry_are_valid(family: str, kind: str) -> None:
    entry = make(FAMILIES[family], kind)
    assert type(entry).model_validate(json.loads(entry.model_dump_json())) == entry


@every_entry
def test_the_json_schema_of_an_entry_accepts_its_defaults_and_no_other_field(family: str, kind: str) -> None:
    entry = FAMILIES[family][kind]
    schema = entry.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    document = json.loads(make(FAMILIES[family], kind).model_dump_json())
    validator.validate(document)
    assert schema["properties"]["kind"]["const"] == kind
    assert not validator.is_valid({**document, "no_such_field": 1})


@every_entry
def test_every_number_of_an_entry_has_bounds(family: str, kind: str) -> None:

    def look(schema: object) -> None:
        if isinstance(schema, dict):
            if schema.get("type") in {"number", "integer"}:
                assert {"minimum", "exclusiveMinimum"} & set(schema), schema
                assert {"maximum", "exclusiveMaximum"} & set(schema), schema
            if schema.get("type") == "array":
                assert "maxItems" in schema, schema
            for value in schema.values():
                look(value)
        elif isinstance(schema, list):
            for value in schema:
                look(value)

    look(FAMILIES[family][kind].model_json_schema())


def test_every_loss_of_the_catalog_may_be_named_in_a_spec() -> None:
    assert set(get_args(LossName)) == set(LOSSES)


def test_every_entry_but_the_losses_can_be_chosen_in_a_spec() -> None:
    kinds = json.dumps(ExperimentSpec.model_json_schema())
    for family, kind in ENTRIES:
        if family != "losses":
            assert f'"const": "{kind}"' in kinds


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_resolves_as_it_is(name: str) -> None:
    spec = resolve({"preset": name})
    assert spec.name == PRESETS[name].name == name
    assert resolve(spec.model_dump(mode="json")) == spec
    assert PRESETS[name].title
    assert PRESETS[name].description
    assert PRESETS[name].source


def test_a_mistyped_name_leads_to_the_known_one() -> None:
    assert suggestion("Geluu", ["relu", "gelu"]) == "did you mean 'gelu'?"
    assert suggestion("42", ["relu", "gelu"]) == "allowed: 'relu', 'gelu'"
