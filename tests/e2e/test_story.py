"""The whole way of an experiment, over HTTP to real processes, embedded and deployed."""

import csv
import io
import os
import signal
import time
import uuid
from typing import Any

import httpx2
import numpy as np
import pyarrow.parquet
import pytest

from tests.e2e.services import training_processes, wait_for

SMALL: dict[str, Any] = {
    "dataset": {"kind": "fbm", "train_size": 500, "val_size": 200},
    "activations": ["relu", "tanh"],
    "corruption": {"rates": [0.1, 0.2]},
    "num_seeds": 3,
    "training": {"epochs": 3},
    "reuse": False,
}
# Long enough to be met in the middle, and over at once when cancelled.
LONG: dict[str, Any] = {**SMALL, "activations": ["relu"], "num_seeds": 1, "training": {"epochs": 10_000}}

pytestmark = pytest.mark.timeout(240)


def post(service: httpx2.Client, document: dict[str, Any]) -> str:
    response = service.post("/experiments", json=document)
    assert response.status_code == 202, response.text
    experiment_id: str = response.json()["id"]
    assert response.headers["Location"].endswith(f"/experiments/{experiment_id}")
    return experiment_id


def finished(service: httpx2.Client, document: dict[str, Any]) -> str:
    experiment_id = post(service, document)
    assert wait_for(service, experiment_id, "succeeded", "failed")["state"] == "succeeded"
    return experiment_id


@pytest.fixture(scope="module")
def small(service: httpx2.Client) -> str:
    return finished(service, SMALL)


def all_metrics(service: httpx2.Client, experiment_id: str, **query: Any) -> list[dict[str, Any]]:
    rows, token = [], None
    while True:
        page = service.get(
            f"/experiments/{experiment_id}/metrics",
            params={"page_size": 7, **query, **({"page_token": token} if token else {})},
        ).json()
        rows += page["items"]
        token = page.get("next_page_token")
        if not token:
            return rows


def numbers(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Metrics by what was trained, without the ids of the runs."""
    return {
        (row["activation"], row["rate"], row["seed"], row["epoch"]): tuple(
            value for name, value in sorted(row.items()) if name != "run_id"
        )
        for row in rows
    }


def test_a_finished_experiment_tells_its_whole_story(service: httpx2.Client, small: str) -> None:
    experiment = service.get(f"/experiments/{small}").json()
    assert experiment["progress"] == {
        "runs_total": 18, "runs_finished": 18, "runs_failed": 0, "runs_reused": 0,
        "epochs_total": 54, "epochs_done": 54, "eta_s": None,
    }  # fmt: skip
    assert experiment["provenance"]["numerics"]
    assert [item["id"] for item in service.get("/experiments", params={"page_size": 1000}).json()["items"]].count(
        small
    ) == 1
    runs = service.get(f"/experiments/{small}/runs", params={"page_size": 1000}).json()["items"]
    assert {(run["activation"], run["rate"], run["seed"]) for run in runs} == {
        (activation, rate, seed) for activation in ("relu", "tanh") for rate in (0.0, 0.1, 0.2) for seed in range(3)
    }
    assert all(run["state"] == "succeeded" and run["outcome"] == "ok" and run["epoch"] == 3 for run in runs)
    assert {run["realised_rate"] for run in runs} == {0.0, 0.1, 0.2}


def test_metrics_are_the_same_as_json_csv_and_parquet(service: httpx2.Client, small: str) -> None:
    rows = all_metrics(service, small)
    assert len(rows) == len(numbers(rows)) == 54
    text = service.get(f"/experiments/{small}/metrics", headers={"Accept": "text/csv"})
    table = list(csv.DictReader(io.StringIO(text.text)))
    assert text.headers["content-type"].startswith("text/csv")
    assert [float(row["val_loss"]) for row in table] == [row["val_loss"] for row in rows]
    content = service.get(f"/experiments/{small}/metrics", params={"format": "parquet"}).content
    frame = pyarrow.parquet.read_table(io.BytesIO(content))
    assert frame.column("val_loss").to_pylist() == [row["val_loss"] for row in rows]
    assert frame.column_names == list(table[0])
    assert set(rows[0]) == set(table[0])


@pytest.mark.parametrize("score", ["final", "epoch:2"])
def test_the_degradation_is_what_a_reader_computes_from_the_metrics(
    service: httpx2.Client, small: str, score: str
) -> None:
    epoch = 3 if score == "final" else 2
    loss = {key[:3]: row["val_loss"] for key, row in zip(*_by_key(service, small, epoch), strict=True)}
    answer = service.get(f"/experiments/{small}/robustness", params={"score": score}).json()
    assert answer["complete"] is True
    assert answer["epoch"] == epoch
    for activation in answer["activations"]:
        for condition in activation["conditions"]:
            name, rate = activation["activation"], condition["rate"]
            by_hand = np.mean([loss[name, rate, seed] - loss[name, 0.0, seed] for seed in range(3)])
            assert condition["degradation"]["mean"] == pytest.approx(by_hand, abs=1e-9)
    assert sorted(activation["rank"] for activation in answer["activations"]) == [1, 2]


def _by_key(
    service: httpx2.Client, experiment_id: str, epoch: int
) -> tuple[list[tuple[Any, ...]], list[dict[str, Any]]]:
    rows = all_metrics(service, experiment_id, epoch_from=epoch, epoch_to=epoch)
    return [(row["activation"], row["rate"], row["seed"]) for row in rows], rows


def test_the_same_spec_again_trains_nothing_and_is_answered_at_once(service: httpx2.Client, small: str) -> None:
    started = time.monotonic()
    again = service.post("/experiments", json={**SMALL, "reuse": True}).json()
    comparison = service.get(f"/experiments/{again['id']}/robustness").json()
    assert time.monotonic() - started < 2
    assert again["state"] == "succeeded"
    assert again["progress"]["runs_reused"] == again["progress"]["runs_total"] == 18
    assert numbers(all_metrics(service, again["id"])) == numbers(all_metrics(service, small))
    assert comparison["activations"] == service.get(f"/experiments/{small}/robustness").json()["activations"]


def test_the_same_spec_gives_identical_metrics_and_another_base_seed_does_not(
    service: httpx2.Client, small: str
) -> None:
    again = finished(service, SMALL)
    other = finished(service, {**SMALL, "base_seed": 1})
    first = numbers(all_metrics(service, small))
    assert numbers(all_metrics(service, again)) == first
    assert numbers(all_metrics(service, other)) != first
    by_seed = {key[2]: values for key, values in first.items() if key[:2] == ("relu", 0.0) and key[3] == 3}
    assert len(set(by_seed.values())) == 3


def test_the_clean_runs_of_a_sweep_equal_those_of_a_single_rate(service: httpx2.Client, small: str) -> None:
    single = finished(service, {**SMALL, "corruption": {"rates": [0.2]}})
    sweep = numbers(all_metrics(service, small))
    for key, values in numbers(all_metrics(service, single)).items():
        assert sweep[key] == values


def test_an_unchanged_answer_is_not_sent_again(service: httpx2.Client, small: str) -> None:
    for path in (f"/experiments/{small}", f"/experiments/{small}/robustness"):
        etag = service.get(path).headers["ETag"]
        assert service.get(path, headers={"If-None-Match": etag}).status_code == 304


def test_validate_only_stores_nothing(service: httpx2.Client) -> None:
    before = len(service.get("/experiments", params={"page_size": 1000}).json()["items"])
    response = service.post("/experiments", params={"validate_only": "true"}, json={"preset": "harrison-multivariate"})
    assert response.status_code == 200
    assert response.json()["runs"] == 140
    assert len(service.get("/experiments", params={"page_size": 1000}).json()["items"]) == before


def test_the_same_idempotency_key_gives_the_same_experiment(service: httpx2.Client) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first, second = (service.post("/experiments", json=SMALL, headers=headers) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert service.post("/experiments", json=LONG, headers=headers).status_code == 422
    wait_for(service, first.json()["id"], "succeeded")


def test_a_cancelled_experiment_is_resumed_and_then_deleted(service: httpx2.Client) -> None:
    document = {**SMALL, "activations": ["relu"], "num_seeds": 1, "training": {"epochs": 150}}
    experiment_id = post(service, document)
    _wait_for_epoch(service, experiment_id, 3)
    assert service.delete(f"/experiments/{experiment_id}").status_code == 409
    response = service.post(f"/experiments/{experiment_id}/cancel")
    assert (response.status_code, response.json()["state"]) == (202, "cancelling")
    wait_for(service, experiment_id, "cancelled")
    assert service.post(f"/experiments/{experiment_id}/cancel").status_code == 200
    assert service.post(f"/experiments/{experiment_id}/resume").status_code == 202
    wait_for(service, experiment_id, "succeeded")
    assert service.post(f"/experiments/{experiment_id}/resume").status_code == 409
    assert service.post(f"/experiments/{experiment_id}/cancel").status_code == 409
    undisturbed = finished(service, document)
    assert numbers(all_metrics(service, experiment_id)) == numbers(all_metrics(service, undisturbed))
    assert service.delete(f"/experiments/{experiment_id}").status_code == 204
    assert service.get(f"/experiments/{experiment_id}").status_code == 404


def _wait_for_epoch(service: httpx2.Client, experiment_id: str, epochs: int) -> None:
    deadline = time.monotonic() + 60
    while service.get(f"/experiments/{experiment_id}").json()["progress"]["epochs_done"] < epochs:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_worker_costs_time_and_nothing_else(service: httpx2.Client) -> None:
    document = {**SMALL, "activations": ["relu"], "num_seeds": 1, "training": {"epochs": 100}}
    undisturbed = numbers(all_metrics(service, finished(service, document)))
    experiment_id = post(service, document)
    _wait_for_epoch(service, experiment_id, 30)
    for process in training_processes():
        os.kill(process.pid, signal.SIGKILL)
    wait_for(service, experiment_id, "succeeded")
    rows = all_metrics(service, experiment_id)
    assert len(rows) == 3 * 100
    assert numbers(rows) == undisturbed


def test_a_diverging_run_is_listed_and_does_not_stop_the_others(service: httpx2.Client) -> None:
    document = {
        **SMALL,
        "activations": ["relu", "tanh"],
        "architecture": {"kind": "mlp", "hidden": [16], "batch_norm": False},
        "training": {"epochs": 3, "optimizer": {"kind": "sgd", "lr": 100.0}},
    }
    experiment_id = finished(service, document)
    answer = service.get(f"/experiments/{experiment_id}/robustness").json()
    assert answer["diverged"]
    runs = service.get(f"/experiments/{experiment_id}/runs", params={"page_size": 1000}).json()["items"]
    assert {run["state"] for run in runs} == {"succeeded"}
    assert "NaN" not in service.get(f"/experiments/{experiment_id}/robustness").text
