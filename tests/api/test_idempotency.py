import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from api.app import create_app
from shared.store import repository
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.tables import Experiment, IdempotencyKey, Run
from tests.api.conftest import SettingsFor
from tests.api.support import TINY, faults, problem


def post_with(client: TestClient, key: str, document: Any = TINY) -> httpx2.Response:
    return client.post("/experiments", json=document, headers={"Idempotency-Key": key})


def num_experiments(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Experiment)) or 0


def test_a_replay_gets_the_first_answer_byte_for_byte(client: TestClient, database: Database) -> None:
    first, second = post_with(client, "a key"), post_with(client, "a key")
    assert first.status_code == second.status_code == 202
    assert first.content == second.content
    assert first.headers["location"] == second.headers["location"]
    assert num_experiments(database) == 1


def test_a_replay_repeats_the_answer_even_when_the_experiment_has_moved_on(client: TestClient) -> None:
    first = post_with(client, "k")
    client.post(f"{first.headers['location']}/cancel")
    client.delete(first.headers["location"])
    assert post_with(client, "k").content == first.content


def test_another_body_under_the_same_key_is_refused(client: TestClient, database: Database) -> None:
    post_with(client, "k")
    response = post_with(client, "k", {**TINY, "num_seeds": 2})
    assert problem(response, 422)["type"].endswith("idempotency-key-reused")
    assert num_experiments(database) == 1


def test_other_keys_make_other_experiments(client: TestClient, database: Database) -> None:
    ids = {post_with(client, key).json()["id"] for key in ("a", "b", "A")}
    assert len(ids) == num_experiments(database) == 3


def test_a_refused_spec_leaves_its_key_unused(client: TestClient) -> None:
    assert post_with(client, "k", {"num_seeds": 0}).status_code == 422
    assert post_with(client, "k").status_code == 202


def test_twenty_posts_at_once_with_one_key_make_one_experiment(client: TestClient, database: Database) -> None:
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: post_with(client, "one"), range(20)))
    assert {response.status_code for response in responses} == {202}
    assert len({response.content for response in responses}) == 1
    assert num_experiments(database) == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 12
        assert session.scalar(select(IdempotencyKey.response)) == responses[0].text


def test_twenty_posts_at_once_without_a_key_make_twenty(client: TestClient, database: Database) -> None:
    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(lambda _: client.post("/experiments", json=TINY).json()["id"], range(20)))
    assert len(ids) == num_experiments(database) == 20


def test_two_bodies_racing_for_one_key_have_one_winner(client: TestClient, database: Database) -> None:
    documents = [{**TINY, "base_seed": seed} for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda document: post_with(client, "k", document).status_code, documents))
    assert statuses == [202] + 7 * [422]
    assert num_experiments(database) == 1


@pytest.mark.postgres
def test_a_request_whose_twin_is_still_on_its_way_is_told_so(
    postgres_url: str, settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.db.POSTGRES_OPTIONS", "-c lock_timeout=200ms")
    settings = settings_for(postgres_url)
    database = Database(settings.effective_database_url)
    with TestClient(create_app(settings)) as client:
        with database.write() as session:
            repository.reserve_idempotency_key(session, "k", owner=LOCAL_OWNER, body_hash="of its twin")
            assert problem(post_with(client, "k"), 409)["type"].endswith("conflict")
            session.rollback()
        assert post_with(client, "k").status_code == 202
    database.close()


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there", "\u00e9"])
def test_a_key_must_be_short_and_printable(sqlite_client: TestClient, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1"), b"Content-Type": b"application/json"}
    response = sqlite_client.post("/experiments", content=json.dumps(TINY), headers=headers)
    assert "Idempotency-Key" in faults(response)
