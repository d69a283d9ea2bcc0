"""Posting what was trained before: the answer is there at once, and says where it comes from."""

import time

import pytest
from fastapi.testclient import TestClient

from shared.store import reuse
from shared.store.db import Database
from tests.api.support import TINY, post, train


def test_the_same_spec_again_is_answered_with_its_results(client: TestClient, database: Database) -> None:
    first = post(client)["id"]
    train(database, first)
    started = time.monotonic()
    second = post(client)
    comparison = client.get(f"/experiments/{second['id']}/robustness").json()
    assert time.monotonic() - started < 2
    assert second["state"] == "succeeded"
    assert second["provenance"]["reused_from"] == [first]
    assert second == client.get(f"/experiments/{second['id']}").json()
    expected = client.get(f"/experiments/{first}/robustness").json()
    assert {**comparison, "experiment_id": first} == expected
    assert _table(client, second["id"]) == _table(client, first)


def _table(client: TestClient, experiment_id: str) -> list[list[str]]:
    """All metrics as they are downloaded, but for the ids of the runs."""
    lines = client.get(f"/experiments/{experiment_id}/metrics?format=csv").text.splitlines()
    return [line.split(",")[1:] for line in lines]


def test_each_run_says_where_it_comes_from(client: TestClient, database: Database) -> None:
    first = post(client)["id"]
    train(database, first)
    runs = client.get(f"/experiments/{first}/runs").json()["items"]
    assert {run["reused_from"] for run in runs} == {None}
    again = client.get(f"/experiments/{post(client)['id']}/runs").json()["items"]
    assert [run["reused_from"] for run in again] == [run["run_id"] for run in runs]
    assert [run["metrics"] for run in again] == [run["metrics"] for run in runs]


def test_progress_begins_with_what_is_known(client: TestClient, database: Database) -> None:
    first = post(client)
    train(database, first["id"])
    more = post(client, {**TINY, "num_seeds": first["spec"]["num_seeds"] + 1})
    progress = more["progress"]
    assert more["state"] == "queued"
    assert progress["runs_reused"] == progress["runs_finished"] == first["progress"]["runs_total"]
    assert 0 < progress["epochs_done"] < progress["epochs_total"]
    assert client.get(f"/experiments/{more['id']}").json() == more


def test_training_again_is_had_for_the_asking(client: TestClient, database: Database) -> None:
    train(database, post(client)["id"])
    again = post(client, {**TINY, "reuse": False})
    assert (again["state"], again["progress"]["runs_reused"]) == ("queued", 0)


def test_the_plan_says_what_was_trained_before(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(**changes: object) -> tuple[int, int]:
        answer = client.post("/experiments?validate_only=true", json={**TINY, **changes}).json()
        return answer["runs"], answer["runs_reusable"]

    assert plan() == (12, 0)
    first = post(client)
    train(database, first["id"])
    assert plan() == (12, 12)
    assert plan(num_seeds=4)[1] == 12
    assert plan(reuse=False)[1] == 0
    monkeypatch.setattr(reuse, "MOST_ROWS", 5 * first["spec"]["training"]["epochs"])
    assert plan()[1] == 5
