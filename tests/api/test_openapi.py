import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from fastapi.openapi.models import OpenAPI
from starlette.testclient import TestClient

from api import examples
from api.app import create_app
from api.robustness_schema import Robustness
from shared.settings import Settings
from shared.store.db import Database
from tests.api.support import post, train
from tests.api.test_posting import BAD_SPECS

DOCUMENT: dict[str, Any] = create_app(Settings(_env_file=None)).openapi()
OPERATIONS = [
    (method, path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
]
each_operation = pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{method} {path}" for method, path, _ in OPERATIONS]
)

# What is no JSON document.
STREAMED = {"image/png", "text/event-stream"}


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def schema_of(method: str, path: str, status: int = 200) -> dict[str, Any]:
    schema: dict[str, Any] = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"]["application/json"]
    return dict(schema["schema"])


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)


def test_the_document_is_valid() -> None:
    OpenAPI.model_validate(DOCUMENT)
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere() -> None:
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= known


def test_the_names_read_well_in_a_generated_client() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]+", name) for name in DOCUMENT["components"]["schemas"])
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", name) for name in names)


@each_operation
def test_every_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    for parameter in operation.get("parameters", []):
        assert parameter["name"][0] != "-"
        assert "null" not in str(parameter["schema"])


@each_operation
def test_every_operation_declares_its_problems(method: str, path: str, operation: dict[str, Any]) -> None:
    refused = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
    assert {"500", "503", "422"} <= refused.keys()
    assert ("404" in refused) == ("{" in path)
    for status, answer in refused.items():
        assert answer["description"]
        [(media_type, content)] = answer["content"].items()
        assert media_type == "application/problem+json"
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        validator(content["schema"]).validate(content["example"])
        assert content["example"]["status"] == int(status)


@each_operation
def test_every_operation_shows_an_example_that_fits(method: str, path: str, operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        types = set(answer.get("content", {}))
        content = answer.get("content", {}).get("application/json")
        has_no_json = status in {"204", "304"} or status[0] in "45" or path == "/metrics" or bool(types & STREAMED)
        assert (content is None) == has_no_json
        if content is not None:
            validator(content["schema"]).validate(content["example"])


def test_the_declared_body_takes_what_the_service_takes() -> None:
    declared = DOCUMENT["paths"]["/experiments"]["post"]["requestBody"]["content"]["application/json"]
    assert declared["examples"] == examples.REQUESTS
    body = validator(declared["schema"])
    for example in examples.REQUESTS.values():
        body.validate(example["value"])
    for document in (
        {}, {"preset": "harrison-mnist"}, examples.EXPERIMENT["spec"],
        {"preset": "harrison-multivariate", "dataset": {"train_size": 100}, "margin": None, "name": None},
        {"preset": "harrison-mnist", "training": {"optimizer": {"lr": 0.1}, "schedule": None}},
    ):  # fmt: skip
        body.validate(document)


def test_the_declared_body_refuses_what_a_schema_can_tell() -> None:
    declared = DOCUMENT["paths"]["/experiments"]["post"]["requestBody"]["content"]["application/json"]
    body = validator(declared["schema"])
    for case in ("unknown field", "wrong type", "no seeds", "a rate of one", "negative size", "unknown score"):
        assert not body.is_valid(BAD_SPECS[case][0]), case


def test_real_answers_fit_their_schemas(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    one = "/experiments/{experiment_id}"
    for is_finished in (False, True):
        if is_finished:
            train(database, experiment_id)
        for path in (one, "/experiments", f"{one}/runs", f"{one}/metrics", f"{one}/robustness"):
            answer = client.get(path.format(experiment_id=experiment_id)).json()
            validator(schema_of("get", path)).validate(answer)
    query = {"include": "curves,pairs,raw"}
    answer = client.get(f"/experiments/{experiment_id}/robustness", params=query).json()
    validator(schema_of("get", f"{one}/robustness")).validate(answer)
    assert Robustness.model_validate(answer).model_dump(mode="json", exclude_unset=True) == answer, "nothing undeclared"
    for path in ("/catalog", "/presets", "/workers", "/healthz", "/readyz"):
        validator(schema_of("get", path)).validate(client.get(path).json())
    preset = client.get("/presets/harrison-mnist").json()
    validator(schema_of("get", "/presets/{name}")).validate(preset)
    plan = client.post("/experiments?validate_only=true", json={}).json()
    validator(schema_of("post", "/experiments")).validate(plan)
    problem = client.get("/experiments?page_size=0").json()
    validator({"$ref": "#/components/schemas/Problem"}).validate(problem)


def test_every_example_is_a_working_request(sqlite_client: TestClient) -> None:
    for example in examples.REQUESTS.values():
        response = sqlite_client.post("/experiments?validate_only=true", json=example["value"])
        assert response.status_code == 200, response.text
