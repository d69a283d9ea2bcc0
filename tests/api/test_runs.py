from typing import Any

import pytest
from starlette.testclient import TestClient

from shared.store import queue
from shared.store.db import Database
from tests.api.support import ON_DIGITS, claim, faults, jobs_of, post, train


def all_pages(client: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        answer = client.get(path, params={**query, **({"page_token": token} if token else {})}).json()
        items += answer["items"]
        token = answer.get("next_page_token")
        if token is None:
            return items


def test_runs_are_listed_in_the_order_of_the_plan(client: TestClient) -> None:
    runs = all_pages(client, f"/experiments/{post(client)['id']}/runs", page_size=5)
    assert [(run["activation"], run["rate"], run["seed"]) for run in runs] == [
        (activation, rate, seed) for activation in ("relu", "leaky, 0.2") for rate in (0.0, 0.1) for seed in range(3)
    ]
    assert {run["state"] for run in runs} == {"pending"}
    assert runs[0] == {
        "run_id": runs[0]["run_id"], "activation": "relu", "rate": 0.0, "seed": 0, "state": "pending", "outcome": None,
        "epoch": 0, "null_loss": None, "null_accuracy": None, "realised_rate": None, "mask_hash": None,
        "reused_from": None, "metrics": None,
    }  # fmt: skip


def test_a_run_shows_the_metrics_of_its_latest_epoch(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id, epochs=3, complete=False)
    for run in all_pages(client, f"/experiments/{experiment_id}/runs"):
        assert (run["state"], run["epoch"], run["outcome"]) == ("running", 3, None)
        assert run["metrics"].keys() == {
            "train_loss", "val_loss", "train_accuracy", "val_accuracy", "val_loss_a", "val_accuracy_a",
            "memorization", "recovery", "nonfinite",
        }  # fmt: skip
        [row] = all_pages(
            client, f"/experiments/{experiment_id}/metrics", activation=run["activation"], rate=run["rate"],
            seed=run["seed"], epoch_from=3,
        )  # fmt: skip
        assert row == {
            **run["metrics"],
            **{name: run[name] for name in ("run_id", "activation", "rate", "seed", "epoch")},
        }
        assert (run["null_loss"], run["realised_rate"]) == (0.1, run["rate"])
        assert run["mask_hash"] == f"{run['seed']:064}"


def test_finished_runs_have_an_outcome(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    runs = all_pages(client, f"/experiments/{experiment_id}/runs")
    assert {(run["state"], run["outcome"], run["epoch"]) for run in runs} == {("succeeded", "ok", 4)}


def test_a_diverged_run_has_null_and_the_name_of_what_it_was(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    lease = claim(database, jobs_of(database, experiment_id)[0])
    run_id = client.get(f"/experiments/{experiment_id}/runs").json()["items"][0]["run_id"]
    with database.write() as session:
        row = queue.MetricsRow(run_id, 1, train_loss=None, val_loss=2.5, nonfinite="-inf")
        queue.commit_epoch(session, lease, [row], diverged=[run_id])
    run = client.get(f"/experiments/{experiment_id}/runs").json()["items"][0]
    assert (run["state"], run["outcome"], run["epoch"]) == ("succeeded", "diverged", 1)
    assert (run["metrics"]["train_loss"], run["metrics"]["nonfinite"]) == (None, "-inf")


def test_filters_narrow_the_runs(client: TestClient, database: Database) -> None:
    experiment_id = post(client, ON_DIGITS)["id"]
    path = f"/experiments/{experiment_id}/runs"
    train(database, experiment_id, num_jobs=1)
    assert len(all_pages(client, path)) == 18
    assert {run["activation"] for run in all_pages(client, path, activation="leaky, 0.2")} == {"leaky, 0.2"}
    assert {run["rate"] for run in all_pages(client, path, rate=[0, 0.4])} == {0.0, 0.4}
    assert len(all_pages(client, path, rate="0.2", seed=["0", "2"], activation="relu")) == 2
    assert {run["state"] for run in all_pages(client, path, state="succeeded")} == {"succeeded"}
    assert all_pages(client, path, activation="nobody") == []


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("rate=1", "rate"), ("rate=-0.1", "rate"), ("rate=nan", "rate"), ("rate=1e999", "rate"), ("seed=-1", "seed"),
        ("seed=99999999999", "seed"), ("seed=1.5", "seed"), ("state=queued", "state"), ("page_size=1001", "page_size"),
        ("epoch_from=1", "epoch_from"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(sqlite_client: TestClient, query: str, parameter: str) -> None:
    assert parameter in faults(sqlite_client.get(f"/experiments/{post(sqlite_client)['id']}/runs?{query}"))
