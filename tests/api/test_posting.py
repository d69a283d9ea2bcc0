import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api import examples
from api.app import create_app
from api.background import Bell
from shared.store.db import Database
from shared.store.tables import Experiment, Job, Run
from tests.api.conftest import SettingsFor
from tests.api.support import TINY, faults, post, problem

MILLION = 1_000_000


def post_text(client: TestClient, text: str | bytes, content_type: str = "application/json") -> Any:
    return client.post("/experiments", content=text, headers={"Content-Type": content_type})


def nothing_is_stored(client: TestClient) -> bool:
    return bool(client.get("/experiments").json() == {"items": []})


def test_a_preset_is_a_complete_request(client: TestClient, database: Database) -> None:
    response = client.post("/experiments", json={"preset": "harrison-multivariate"})
    assert response.status_code == 202
    experiment = response.json()
    assert UUID(experiment["id"]).version == 7
    assert response.headers["location"] == f"/experiments/{experiment['id']}"
    assert client.get(response.headers["location"]).json() == experiment
    assert experiment["state"] == "queued"
    assert experiment["progress"] == {
        "runs_total": 140, "runs_finished": 0, "runs_failed": 0, "runs_reused": 0,
        "epochs_total": 2800, "epochs_done": 0, "eta_s": None,
    }  # fmt: skip
    assert experiment["provenance"]["preset"] == "harrison-multivariate"
    assert experiment["provenance"]["numerics"] == []
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 140
        assert session.scalar(select(func.count()).select_from(Job)) == 14


def test_the_answer_holds_the_spec_down_to_the_last_default(client: TestClient) -> None:
    spec = post(client, {"dataset": {"kind": "digits"}, "activations": ["gelu"]})["spec"]
    assert spec["dataset"] == {
        "kind": "digits", "train_size": 1347, "val_size": 450, "image_size": 8, "split": "fixed",
    }  # fmt: skip
    assert spec["activations"] == [{"kind": "gelu", "label": "gelu", "approximate": "none"}]
    assert (spec["metric"], spec["score"], spec["base_seed"]) == ("accuracy", "final", 0)


def test_the_resolved_spec_posted_again_resolves_to_itself(sqlite_client: TestClient) -> None:
    first = post(sqlite_client, {"preset": "harrison-multivariate"})
    again = post(sqlite_client, first["spec"])
    assert again["spec"] == first["spec"]
    assert again["provenance"]["spec_sha256"] == first["provenance"]["spec_sha256"]
    assert again["id"] != first["id"]


@pytest.mark.parametrize("name", examples.REQUESTS)
def test_every_example_of_the_documentation_is_accepted(sqlite_client: TestClient, name: str) -> None:
    post(sqlite_client, examples.REQUESTS[name]["value"])


def test_validate_only_answers_with_the_plan_and_stores_nothing(client: TestClient) -> None:
    response = client.post("/experiments?validate_only=true", json={"preset": "harrison-multivariate"})
    assert response.status_code == 200
    assert "location" not in response.headers
    plan = response.json()
    assert (plan["jobs"], plan["runs"], plan["epochs_total"], plan["metric_rows"]) == (14, 140, 2800, 2800)
    assert plan["estimated_training_flops"] > 1e11
    assert plan["estimated_memory_bytes"] > 5000 * 11 * 8
    assert plan["spec"]["training"]["epochs"] == 20
    assert nothing_is_stored(client)


def test_the_plan_of_a_precision_target_says_how_many_runs_there_may_be(client: TestClient) -> None:
    document = {**TINY, "until": {"max_seeds": 12}}
    plan = client.post("/experiments?validate_only=true", json=document).json()
    assert (plan["runs"], plan["runs_at_most"], plan["spec"]["num_seeds"]) == (20, 48, 5)
    assert "runs_at_most" not in client.post("/experiments?validate_only=true", json=TINY).json()


def test_the_plan_warns_of_one_function_under_two_labels(sqlite_client: TestClient) -> None:
    twice = {**TINY, "activations": ["relu", {"kind": "leaky_relu", "negative_slope": 0.0, "label": "flat"}, "tanh"]}
    plan = sqlite_client.post("/experiments?validate_only=true", json=twice).json()
    assert plan["warnings"] == ["'relu' and 'flat' are the same function"]
    assert sqlite_client.post("/experiments?validate_only=true", json=TINY).json()["warnings"] == []


def test_validate_only_leaves_an_idempotency_key_unused(sqlite_client: TestClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert sqlite_client.post("/experiments?validate_only=true", json=TINY, headers=headers).status_code == 200
    assert sqlite_client.post("/experiments", json={**TINY, "num_seeds": 2}, headers=headers).status_code == 202


BAD_SPECS: dict[str, tuple[Any, str, str]] = {
    "unknown field": ({"epochs": 3}, "/epochs", "does not exist"),
    "unknown field below": ({"training": {"epoch": 3}}, "/training/epoch", "does not exist"),
    "unknown activation": ({"activations": ["relu", "geluu"]}, "/activations/1", "did you mean 'gelu'?"),
    "unknown activation object": ({"activations": [{"kind": "seluu"}]}, "/activations/0/kind", "did you mean 'selu'?"),
    "unknown preset": ({"preset": "harrison-mnits"}, "/preset", "did you mean 'harrison-mnist'?"),
    "preset of a wrong type": ({"preset": [1]}, "/preset", "harrison-mnist"),
    "unknown data set": ({"dataset": {"kind": "mnits"}}, "/dataset/kind", "did you mean 'mnist'?"),
    "data set without a kind": ({"dataset": "fbm"}, "/dataset", "'kind'"),
    "wrong type": ({"num_seeds": "ten"}, "/num_seeds", "integer"),
    "a number as text": ({"num_seeds": "10"}, "/num_seeds", "integer"),
    "a boolean as a number": ({"num_seeds": True}, "/num_seeds", "integer"),
    "negative size": ({"dataset": {"kind": "fbm", "train_size": -5}}, "/dataset/train_size", "greater"),
    "absurd size": ({"dataset": {"kind": "fbm", "train_size": 10**12}}, "/dataset/train_size", "less"),
    "beyond every float": ({"training": {"optimizer": {"kind": "adam", "lr": 10**400}}}, "/training/optimizer/lr", ""),
    "too many digits for a seed": ({"base_seed": 10**4000}, "/base_seed", ""),
    "no seeds": ({"num_seeds": 0}, "/num_seeds", "greater than or equal to 1"),
    "no activations": ({"activations": []}, "/activations", "at least 1"),
    "activations of a wrong type": ({"activations": "relu"}, "/activations", "list"),
    "label noise on regression": ({"corruption": {"kind": "symmetric"}}, "/corruption/kind", "use 'gaussian'"),
    "a loss that does not fit": ({"training": {"loss": "cross_entropy"}}, "/training/loss", "'mse'"),
    "a rate of one": ({"corruption": {"rates": [1.0]}}, "/corruption/rates/0", "less than 1"),
    "a rate twice": ({"corruption": {"rates": [0.1, 0.1]}}, "/corruption/rates", "differ"),
    "duplicate labels": ({"activations": ["relu", "relu"]}, "/activations/1", "label"),
    "metric that does not exist": ({"metric": "accuracy"}, "/metric", "'loss'"),
    "epoch beyond the last": ({"score": "epoch:21"}, "/score", "20 epochs"),
    "unknown score": ({"score": "median"}, "/score", "pattern"),
    "too many runs": ({"num_seeds": 1000, "corruption": {"rates": [0.1, 0.2, 0.3]}}, "/num_seeds", "at most"),
    "too much memory": (
        {"dataset": {"kind": "fbm", "train_size": MILLION, "num_columns": 1000}}, "/architecture", "at most",
    ),
    "convolutions on columns": ({"architecture": {"kind": "harrison_cnn"}}, "/architecture", "needs images"),
    "not an object": ([], "", "JSON object"),
    "null": (None, "", "JSON object"),
    "name of two lines": ({"name": "a\nb"}, "/name", "one line"),
    "NUL in a label": ({"activations": [{"kind": "relu", "label": "a\0b"}]}, "/activations/0/label", "NUL"),
    "NUL in an unknown field": ({"a\0b": 1}, "/a\0b", "NUL"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SPECS)
@pytest.mark.parametrize("query", ["", "?validate_only=true"])
def test_a_bad_spec_is_refused_with_a_pointer_and_what_is_allowed(
    sqlite_client: TestClient, case: str, query: str
) -> None:
    document, pointer, said = BAD_SPECS[case]
    headers = {"Content-Type": "application/json"}
    response = sqlite_client.post(f"/experiments{query}", content=json.dumps(document), headers=headers)
    found = faults(response)
    assert pointer in found, found
    assert said in found[pointer]
    assert nothing_is_stored(sqlite_client)


def test_everything_that_is_wrong_is_said_at_once(sqlite_client: TestClient) -> None:
    document = {"num_seeds": 0, "activations": ["relu", "geluu", {"kind": "elu", "alpha": -1}], "colour": "red"}
    found = faults(sqlite_client.post("/experiments", json=document))
    assert found.keys() == {"/num_seeds", "/activations/1", "/activations/2/alpha", "/colour"}


def test_the_offending_value_is_never_echoed(sqlite_client: TestClient) -> None:
    secret = "s3cret-value"
    for document in ({"name": [secret]}, {"activations": [secret]}, {"preset": secret}, {"score": secret}):
        response = sqlite_client.post("/experiments", json=document)
        assert problem(response, 422)
        assert secret not in response.text


MALFORMED: dict[str, tuple[str | bytes, str]] = {
    "cut off": ('{"num_seeds": 3', "line 1, column 16"),
    "second line": ('{"num_seeds": 3,\n "name" }', "line 2, column 9"),
    "empty": ("", "empty"),
    "blank": ("  \n", "empty"),
    "two documents": ("{} {}", "line 1, column 4"),
    "NaN": ('{"num_seeds": NaN}', "NaN"),
    "infinity": ('{"num_seeds": Infinity}', "Infinity"),
    "minus infinity": ('{"num_seeds": -Infinity}', "Infinity"),
    "a field twice": ('{"num_seeds": 3, "num_seeds": 4}', "twice"),
    "too many digits": ('{"num_seeds": ' + "1" * 5000 + "}", "digits"),
    "too deep": ('{"training": ' + "[" * 100_000 + "]" * 100_000 + "}", "deeply"),
    "deep objects": ('{"training": ' * 50_000 + "1" + "}" * 50_000, "deeply"),
    "not UTF-8": (b'{"name": "\xff"}', "byte 11"),
    "a control character": ('{"name": "a\tb"}', "line 1, column 12"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_json_is_refused_with_its_position(sqlite_client: TestClient, case: str) -> None:
    text, said = MALFORMED[case]
    assert said in faults(post_text(sqlite_client, text), 400)[""]
    assert nothing_is_stored(sqlite_client)


@pytest.mark.parametrize("depth", [50, 300, 600, 900])
def test_a_document_of_any_depth_is_refused_and_breaks_nothing(sqlite_client: TestClient, depth: int) -> None:
    for text in ("[" * depth + "]" * depth, '{"training":' * depth + "1" + "}" * depth):
        response = post_text(sqlite_client, text)
        assert problem(response, response.status_code)
        assert response.status_code in {400, 422}


HOSTILE = {
    "a number beyond every float": '{"training": {"optimizer": {"kind": "adam", "lr": 1e999}}}',
    "half a surrogate pair": '{"name": "\\ud800"}',
    "half a surrogate pair as a field": '{"\\ud800": 1}',
    "a NUL": '{"name": "\\u0000"}',
    "many values": "[" + "1," * 300_000 + "1]",
    "many unknown fields": "{" + ",".join(f'"f{i}":1' for i in range(60_000)) + "}",
    "a thousand unknown fields": "{" + ",".join(f'"f{i}":1' for i in range(1_000)) + "}",
    "a very long name": '{"name": "' + "a" * 900_000 + '"}',
    "a very long kind": '{"activations": ["' + "a" * 900_000 + '"]}',
    "a very long preset": '{"preset": "' + "a" * 900_000 + '"}',
    "a very long field": '{"' + "a" * 900_000 + '": 1}',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_body_gets_a_short_answer(sqlite_client: TestClient, case: str) -> None:
    response = post_text(sqlite_client, HOSTILE[case])
    assert problem(response, 422)
    assert len(response.content) < 50_000


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/vnd.actrobust+json", "Application/JSON; charset=UTF-8"]
)
def test_json_may_be_declared_in_several_ways(sqlite_client: TestClient, content_type: str) -> None:
    assert post_text(sqlite_client, json.dumps(TINY), content_type).status_code == 202


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "text/json", "nonsense", ""]
)
def test_any_other_content_type_is_refused(sqlite_client: TestClient, content_type: str) -> None:
    assert "application/json" in problem(post_text(sqlite_client, "{}", content_type), 415)["detail"]
    assert nothing_is_stored(sqlite_client)


def test_a_body_without_a_content_type_is_refused(sqlite_client: TestClient) -> None:
    assert problem(sqlite_client.post("/experiments", content=b"{}"), 415)


def test_a_compressed_body_is_refused(sqlite_client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert problem(sqlite_client.post("/experiments", content=b"{}", headers=headers), 415)


def test_a_body_may_start_with_a_byte_order_mark(sqlite_client: TestClient) -> None:
    assert post_text(sqlite_client, b"\xef\xbb\xbf{}").status_code == 202


def test_a_data_set_that_is_not_on_disk_is_refused_with_the_command_that_fetches_it(sqlite_client: TestClient) -> None:
    for query in ("", "?validate_only=true"):
        response = sqlite_client.post(f"/experiments{query}", json={"preset": "harrison-mnist"})
        assert problem(response, 422)["type"].endswith("dataset-missing")
        assert "actrobust datasets fetch mnist" in faults(response)["/dataset"]
    assert nothing_is_stored(sqlite_client)


@pytest.mark.mnist
def test_a_data_set_on_disk_is_accepted(sqlite_url: str, settings_for: SettingsFor, datasets_dir: Path) -> None:
    with TestClient(create_app(settings_for(sqlite_url, datasets_dir=datasets_dir))) as client:
        assert post(client, {"preset": "harrison-mnist", "num_seeds": 1})["progress"]["runs_total"] == 14


def test_an_operators_bounds_are_kept(sqlite_url: str, settings_for: SettingsFor) -> None:
    bounds = {"max_runs": 10, "max_metric_rows": 20, "max_training_flops": 10, "max_memory_bytes": 10}
    settings = settings_for(sqlite_url, **bounds)
    with TestClient(create_app(settings)) as client:
        found = problem(client.post("/experiments", json=TINY), 422)["errors"]
        assert [fault["pointer"] for fault in found] == [
            "/num_seeds", "/training/epochs", "/training/epochs", "/architecture",
        ]  # fmt: skip
        assert all("at most" in fault["detail"] for fault in found)
        found = problem(client.post("/experiments", json={**TINY, "until": {}}), 422)["errors"]
        assert found[0]["pointer"] == "/until/max_seeds"


def test_workers_are_rung_for_once_everybody_can_see_the_experiment(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def look(_bell: Bell) -> None:
        with database.read() as session:
            seen.append(list(session.scalars(select(Experiment.id))))

    monkeypatch.setattr(Bell, "ring", look)
    experiment_id = post(client)["id"]
    assert seen == [[experiment_id]]


def test_a_failure_half_way_leaves_nothing_behind(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("in the middle of the transaction")

    monkeypatch.setattr("api.service.experiment_documents", fail)
    response = client.post("/experiments", json=TINY, headers={"Idempotency-Key": "k"})
    assert "in the middle" not in problem(response, 500)["detail"]
    monkeypatch.undo()
    with database.read() as session:
        for table in (Experiment, Job, Run):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert client.post("/experiments", json=TINY, headers={"Idempotency-Key": "k"}).status_code == 202
