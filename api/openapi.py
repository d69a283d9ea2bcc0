"""The OpenAPI document: what FastAPI cannot know by itself, the body of a POST and the problem documents."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from api import examples, schemas
from api.errors import PROBLEM_JSON
from shared.catalog.presets import PRESETS
from shared.spec import ExperimentSpec

REF = "#/components/schemas/{model}"
REQUEST_SUFFIX = "Request"

EXPERIMENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="ExperimentRequest")},
                "examples": examples.REQUESTS,
            }
        },
    }
}

_MEANINGS = {
    400: "The body is not JSON.",
    401: "No API key came, or one that is unknown, revoked or expired.",
    404: "There is nothing with this id or name.",
    406: "None of the media types in `Accept` is offered.",
    409: "The request does not fit the present state.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "Something in the input is not valid; `errors` says what and where.",
    429: "Too many requests, or too many waiting experiments; `Retry-After` says when to come again.",
    500: "A fault of the service.",
    503: "The database does not answer; `Retry-After` says when to try again.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of an operation; 500 and 503 can happen to any."""
    return {status: _problem_response(status) for status in (*statuses, 500, 503)}


def _problem_response(status: int) -> dict[str, Any]:
    return {
        "description": _MEANINGS.get(status, HTTPStatus(status).phrase),
        "content": {PROBLEM_JSON: {"schema": {"$ref": REF.format(model="Problem")}}},
    }


def complete_openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """FastAPI's document with the schemas that `problems` and `EXPERIMENT_BODY` refer to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _, problem = models_json_schema([(schemas.Problem, "serialization")], ref_template=REF)
            schemas_by_name = document["components"]["schemas"]
            schemas_by_name |= problem["$defs"]
            for schema in schemas_by_name.values():
                _drop_object_defaults(schema)
            schemas_by_name |= _request_schemas()
            for item in document["paths"].values():
                for operation in item.values():
                    _add_examples(operation)
                    _drop_null_parameters(operation)
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def _add_examples(operation: dict[str, Any]) -> None:
    """Not given to FastAPI's routes, which would leave out what is null."""
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        if PROBLEM_JSON in content:
            is_bad_spec = status == "422" and "requestBody" in operation
            content[PROBLEM_JSON]["example"] = examples.BAD_SPEC if is_bad_spec else examples.PROBLEMS[status]
        elif "application/json" in content:
            content["application/json"]["example"] = examples.ANSWERS[operation["operationId"], status]


def _drop_object_defaults(schema: dict[str, Any]) -> None:
    """An answer holds every field of a spec; a default that is an object is more than a generated class can express."""
    for member in schema.get("properties", {}).values():
        if isinstance(member.get("default"), dict):
            del member["default"]


def _drop_null_parameters(operation: dict[str, Any]) -> None:
    """A parameter is left out, never null: FastAPI describes the Python default instead."""
    for parameter in operation.get("parameters", []):
        alternatives = [kind for kind in parameter["schema"].pop("anyOf", []) if kind != {"type": "null"}]
        assert len(alternatives) <= 1
        for kind in alternatives:
            parameter["schema"] |= kind


def _request_schemas() -> dict[str, Any]:
    """The spec as it may be posted: everything optional, null for the default, and a preset to start from."""
    _, definitions = models_json_schema([(ExperimentSpec, "validation")], ref_template=REF)
    renamed = {
        # Generators name classes by the title: two of one title are an error to some of them.
        f"{name}{REQUEST_SUFFIX}": {**_partial(schema), "title": f"{name}{REQUEST_SUFFIX}"}
        for name, schema in definitions["$defs"].items()
    }
    for name, schema in renamed.items():
        for member in schema.get("properties", {}).values():
            _default_in_words(
                member, depends_on_dataset=name in {f"ExperimentSpec{REQUEST_SUFFIX}", f"Training{REQUEST_SUFFIX}"}
            )
    spec = renamed.pop(f"ExperimentSpec{REQUEST_SUFFIX}")
    names = {"title": "PresetName", "description": "A named spec.", "type": "string", "enum": list(PRESETS)}
    preset = {
        "anyOf": [{"$ref": REF.format(model="PresetName")}, {"type": "null"}],
        "description": "The spec to start from; the other fields override it.",
    }
    spec["properties"] = {"preset": preset, **spec["properties"]}
    spec["title"] = "ExperimentRequest"
    spec["description"] = (
        "An experiment to run. Every field has a default: the preset's, else the data set's. Fields beside `preset` "
        "override it by JSON merge patch (RFC 7396), except that lists, and objects whose `kind` changes, replace it."
    )
    return {**renamed, "PresetName": names, "ExperimentRequest": spec}


def _default_in_words(member: dict[str, Any], *, depends_on_dataset: bool) -> None:
    """A generated client sends what a document calls the default, and so would override the preset with it."""
    alternatives = member.get("anyOf", [])
    if "default" not in member or any("const" in kind for kind in alternatives):
        return
    default = member.pop("default")
    if default is not None and not depends_on_dataset:
        said = f"Unless a preset says otherwise: `{json.dumps(default)}`."
        member["description"] = f"{member['description']} {said}" if "description" in member else said


def _partial(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_partial(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    # Beside a preset the `kind` may be left out, so that it no longer tells the alternatives apart.
    partial = {
        {"oneOf": "anyOf"}.get(name, name): _partial(value)
        for name, value in schema.items()
        if name not in {"required", "discriminator"}
    }
    if "$ref" in partial:
        partial["$ref"] += REQUEST_SUFFIX
    if isinstance(schema.get("properties"), Mapping):
        partial["properties"] = {name: _or_null(value) for name, value in partial["properties"].items()}
    return partial


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A merge patch removes what it sets to null."""
    described: dict[str, Any] = {name: schema[name] for name in ("title", "description", "default") if name in schema}
    plain = {name: value for name, value in schema.items() if name not in described}
    alternatives = plain["anyOf"] if plain.keys() == {"anyOf"} else [plain]
    null = {"type": "null"}
    return {"anyOf": alternatives if null in alternatives else [*alternatives, null], **described}
