from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from shared.catalog.presets import PRESETS
from shared.spec import resolve
from tests.api.support import problem

FAMILIES = {"activations", "datasets", "corruptions", "architectures", "optimizers", "schedules", "losses"}


@pytest.fixture
def catalog(sqlite_client: TestClient) -> dict[str, Any]:
    response = sqlite_client.get("/catalog")
    assert response.status_code == 200
    document: dict[str, Any] = response.json()
    return document


def test_everything_has_a_formula_a_source_and_a_schema(catalog: dict[str, Any]) -> None:
    assert catalog.keys() == FAMILIES | {"presets"}
    for family in FAMILIES:
        for entry in catalog[family]:
            assert all(entry[name] for name in ("kind", "title", "formula", "source"))
            jsonschema.Draft202012Validator.check_schema(entry["parameters"])
            assert entry["parameters"]["properties"]["kind"]["const"] == entry["kind"]


def test_what_a_schema_allows_is_what_a_spec_may_say(catalog: dict[str, Any]) -> None:
    for spec in (resolve({}), resolve({"dataset": {"kind": "digits"}})):
        document = spec.model_dump(mode="json")
        named = [
            ("datasets", document["dataset"]), ("corruptions", document["corruption"]),
            ("architectures", document["architecture"]), ("optimizers", document["training"]["optimizer"]),
            ("schedules", document["training"]["schedule"]), *(("activations", a) for a in document["activations"]),
        ]  # fmt: skip
        for family, entry in named:
            [found] = [candidate for candidate in catalog[family] if candidate["kind"] == entry["kind"]]
            jsonschema.validate(entry, found["parameters"])


def test_entries_tell_what_they_fit(catalog: dict[str, Any]) -> None:
    facts = {family: {entry["kind"]: entry for entry in catalog[family]} for family in FAMILIES}
    assert facts["datasets"]["fbm"]["task"] == "regression"
    assert facts["datasets"]["fbm"]["inference_scope"] == "fresh_data"
    assert facts["datasets"]["digits"]["inference_scope"] == "fixed_split"
    assert facts["datasets"]["digits"]["defaults"]["training"]["loss"] == "cross_entropy"
    assert facts["corruptions"]["symmetric"]["fits"] == ["classification"]
    assert facts["losses"]["huber"]["task"] == "regression"
    assert facts["activations"]["prelu"]["learnable"] is True
    assert facts["activations"]["relu"]["learnable"] is False


def test_a_kind_alone_makes_a_data_set_whose_defaults_are_the_specs(
    sqlite_client: TestClient, catalog: dict[str, Any]
) -> None:
    entry = next(entry for entry in catalog["datasets"] if entry["kind"] == "digits")
    response = sqlite_client.post("/experiments?validate_only=true", json={"dataset": {"kind": entry["kind"]}})
    assert response.json()["spec"]["training"]["epochs"] == entry["defaults"]["training"]["epochs"]


def test_presets_are_listed_and_shown(sqlite_client: TestClient, catalog: dict[str, Any]) -> None:
    items = sqlite_client.get("/presets").json()["items"]
    assert items == catalog["presets"]
    assert [item["name"] for item in items] == list(PRESETS)
    for item in items:
        preset = sqlite_client.get(f"/presets/{item['name']}").json()
        assert {name: preset[name] for name in item} == item
        assert preset["spec"] == PRESETS[item["name"]].spec
        assert preset["resolved_spec"] == resolve({"preset": item["name"]}).model_dump(mode="json")


def test_an_unknown_preset_is_not_found_and_a_close_one_named(sqlite_client: TestClient) -> None:
    assert "did you mean 'harrison-mnist'?" in problem(sqlite_client.get("/presets/harrison-mnits"), 404)["detail"]
    assert problem(sqlite_client.get("/presets/" + "x" * 5000), 404)


@pytest.mark.parametrize("path", ["/catalog", "/presets", "/presets/harrison-mnist", "/healthz", "/readyz"])
def test_calls_without_parameters_refuse_them(sqlite_client: TestClient, path: str) -> None:
    assert problem(sqlite_client.get(f"{path}?kind=relu"), 422)["errors"][0]["parameter"] == "kind"
