"""What stands still is answered from memory: the answers are those that the database would give."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api import service
from shared.store.db import Database
from tests.api.support import TINY, post, train

VIEWS = ("", "/runs", "/robustness", "/robustness?include=raw,curves")


def looks(client: TestClient, experiment_id: str) -> list[Any]:
    documents = [client.get(f"/experiments/{experiment_id}{view}").json() for view in VIEWS]
    return [*documents, client.get("/experiments").json()["items"]]


def forget(client: TestClient) -> None:
    answers = client.app.state.parts.answers  # type: ignore[attr-defined]
    answers._bodies.clear()


@pytest.mark.parametrize("finished", [False, True])
def test_a_second_look_at_what_stands_still_shows_the_same(
    client: TestClient, database: Database, finished: bool
) -> None:
    experiment_id = post(client)["id"]
    if finished:
        train(database, experiment_id)
    first = looks(client, experiment_id)
    assert looks(client, experiment_id) == first
    page = client.get(f"/experiments/{experiment_id}/runs?page_size=2").json()
    assert page["items"] == first[1]["items"][:2]
    forget(client)
    assert looks(client, experiment_id) == first


def test_every_step_of_an_experiment_is_seen_at_once(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    seen = [looks(client, experiment_id)]
    train(database, experiment_id, num_jobs=1, epochs=2, complete=False)
    seen.append(looks(client, experiment_id))
    client.post(f"/experiments/{experiment_id}/cancel")
    seen.append(looks(client, experiment_id))
    for view in range(len(VIEWS) + 1):
        stages = [str(stage[view]) for stage in seen]
        assert len(set(stages)) == len(stages), view


def test_one_that_was_cancelled_and_resumed_is_not_taken_for_untouched(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id, num_jobs=1)
    client.post(f"/experiments/{experiment_id}/cancel")
    resumed = client.post(f"/experiments/{experiment_id}/resume").json()
    assert client.get(f"/experiments/{experiment_id}").json()["progress"] == resumed["progress"]
    assert client.get(f"/experiments/{experiment_id}").json()["progress"]["runs_finished"] > 0


def test_what_was_deleted_is_gone_though_it_is_known_by_heart(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    looks(client, experiment_id)
    client.delete(f"/experiments/{experiment_id}")
    assert all(client.get(f"/experiments/{experiment_id}{view}").status_code == 404 for view in VIEWS)


def test_a_finished_experiment_is_read_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment_id = post(client, TINY)["id"]
    client.get(f"/experiments/{experiment_id}")
    monkeypatch.setattr(service, "experiment_documents", None)
    assert client.get(f"/experiments/{experiment_id}").status_code == 200
    assert [item["id"] for item in client.get("/experiments").json()["items"]] == [experiment_id]
