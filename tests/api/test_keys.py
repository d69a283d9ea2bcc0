"""The two-key matrix: who is let in where, over every route of the OpenAPI document."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from api import rates
from api.acquaintances import REMEMBERED_S
from api.app import create_app
from shared.settings import Settings
from shared.store.db import Database
from shared.store.keys import create_key, revoke_key
from shared.store.tables import ApiKey
from tests.api.conftest import SettingsFor
from tests.api.support import TINY, post, problem

DOCUMENT: dict[str, Any] = create_app(Settings(_env_file=None)).openapi()
ROUTES = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]
OPEN = {"/healthz", "/readyz"}
GUARDED = [(method, path) for method, path in ROUTES if path not in OPEN]
OF_ONE_EXPERIMENT = [(method, path) for method, path in ROUTES if "{experiment_id}" in path]
each_guarded = pytest.mark.parametrize(("method", "path"), GUARDED, ids=[" ".join(route) for route in GUARDED])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Keys:
    """A service with keys; `experiment_id` is Alice's."""

    client: TestClient
    database: Database
    alice: str
    bob: str
    expired: str
    revoked: str
    experiment_id: str = ""

    def call(self, method: str, path: str, key: str | None) -> httpx2.Response:
        body = TINY if path == "/experiments" and method == "post" else None
        if path.endswith("/events") and key == self.alice:
            # The stream of an experiment that has not ended would not end either.
            self.client.post(f"/experiments/{self.experiment_id}/cancel", headers=bearer(key))
        url = path.format(experiment_id=self.experiment_id, name="harrison-mnist")
        return self.client.request(method, url, json=body, headers=bearer(key) if key is not None else {})


def make_key(database: Database, name: str) -> str:
    with database.write() as session:
        return create_key(session, name).text


@pytest.fixture
def keys(client: TestClient, database: Database) -> Keys:
    made = Keys(client, database, *(make_key(database, name) for name in ("alice", "bob", "alice", "alice")))
    with database.write() as session:
        revoke_key(session, made.revoked[:20])
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(ApiKey).where(ApiKey.prefix == made.expired[:20]).values(expires_at=past))
    made.experiment_id = post(client, headers=bearer(made.alice))["id"]
    return made


@each_guarded
def test_nobody_gets_in_without_a_key_that_is_good(keys: Keys, method: str, path: str) -> None:
    wrong = keys.alice[:-1] + ("A" if keys.alice[-1] != "A" else "B")
    strangers = {"no": None, "empty": "", "unknown": "actrobust_0123456789_x", "wrong": wrong,
                 "its beginning": keys.alice[:20], "expired": keys.expired, "revoked": keys.revoked}  # fmt: skip
    for what, key in strangers.items():
        response = keys.call(method, path, key)
        assert problem(response, 401)["type"] == "urn:actrobust:problem:invalid-api-key", what
        assert response.headers["www-authenticate"] == "Bearer"
        assert keys.experiment_id not in response.text.replace(f'"/experiments/{keys.experiment_id}', "")


@each_guarded
def test_the_right_key_opens_every_route(keys: Keys, method: str, path: str) -> None:
    # Not finished, so that it can neither be resumed nor deleted: the answer of somebody who knows it.
    expected = {"post": {200, 202, 409}, "delete": {409}}.get(method, {200})
    assert keys.call(method, path, keys.alice).status_code in expected


# The stream of an experiment would not end if it were given to anybody.
@pytest.mark.timeout(20)
@pytest.mark.parametrize(("method", "path"), OF_ONE_EXPERIMENT, ids=[" ".join(route) for route in OF_ONE_EXPERIMENT])
def test_anothers_experiment_does_not_exist(keys: Keys, method: str, path: str) -> None:
    answer = problem(keys.call(method, path, keys.bob), 404)
    keys.experiment_id, mine = "01890000-0000-7000-8000-000000000000", keys.experiment_id
    nothing = problem(keys.call(method, path, keys.bob), 404)
    assert answer["detail"].replace(mine, keys.experiment_id) == nothing["detail"]


@pytest.mark.parametrize("path", sorted(OPEN))
def test_health_is_asked_without_a_key(keys: Keys, path: str) -> None:
    assert keys.client.get(path).status_code == 200


def test_the_matrix_covers_every_route_that_declares_a_key() -> None:
    declared = {
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if operation.get("security") == [{"ApiKey": []}]
    }
    assert declared == set(GUARDED)


def listed(keys: Keys, key: str) -> list[str]:
    return [entry["id"] for entry in keys.client.get("/experiments", headers=bearer(key)).json()["items"]]


def test_a_listing_holds_the_owners_experiments_only(keys: Keys) -> None:
    bobs = post(keys.client, headers=bearer(keys.bob))["id"]
    assert listed(keys, keys.alice) == [keys.experiment_id]
    assert listed(keys, keys.bob) == [bobs]


def test_keys_of_one_name_share_their_experiments(keys: Keys) -> None:
    assert listed(keys, make_key(keys.database, "alice")) == [keys.experiment_id]


def test_one_idempotency_key_of_two_owners_makes_two_experiments(keys: Keys) -> None:
    ids = {post(keys.client, headers={**bearer(key), "Idempotency-Key": "k"})["id"] for key in (keys.alice, keys.bob)}
    assert len(ids) == 2


def refused_within_a_second(client: TestClient, path: str, headers: dict[str, str]) -> None:
    deadline_s = time.monotonic() + REMEMBERED_S + 1.0
    while client.get(path, headers=headers).status_code != 401:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_a_key_that_was_just_used_is_refused_within_a_second_of_its_revocation(keys: Keys) -> None:
    assert keys.client.get("/experiments", headers=bearer(keys.alice)).status_code == 200
    with keys.database.write() as session:
        revoke_key(session, keys.alice[:20])
    refused_within_a_second(keys.client, "/experiments", bearer(keys.alice))


def test_a_service_without_keys_asks_for_none_and_its_experiments_belong_to_local(
    client: TestClient, database: Database
) -> None:
    experiment_id = post(client)["id"]
    assert client.get("/experiments", headers=bearer("actrobust_left_over")).status_code == 200
    local, other = (make_key(database, name) for name in ("local", "other"))
    refused_within_a_second(client, f"/experiments/{experiment_id}", {})
    assert client.get(f"/experiments/{experiment_id}", headers=bearer(local)).status_code == 200
    assert client.get(f"/experiments/{experiment_id}", headers=bearer(other)).status_code == 404


def test_revoking_the_last_key_closes_the_service(client: TestClient, database: Database) -> None:
    key = make_key(database, "alice")
    with database.write() as session:
        revoke_key(session, key[:20])
    assert client.get("/experiments").status_code == client.get("/experiments", headers=bearer(key)).status_code == 401


@pytest.fixture
def limited(sqlite_url: str, settings_for: SettingsFor) -> Iterator[TestClient]:
    settings = settings_for(sqlite_url, max_requests_per_minute=5, max_waiting_experiments=2)
    with TestClient(create_app(settings)) as client:
        yield client


def test_who_asks_too_often_is_told_when_to_come_again(limited: TestClient) -> None:
    responses = [limited.get("/presets") for _ in range(6)]
    assert [response.status_code for response in responses] == [200] * 5 + [429]
    assert problem(responses[-1], 429)["type"] == "urn:actrobust:problem:too-many-requests"
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 60
    assert limited.get("/healthz").status_code == 200


def test_one_owners_requests_do_not_count_for_another(limited: TestClient, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    alice, bob = (make_key(database, name) for name in ("alice", "bob"))
    database.close()
    assert [limited.get("/presets", headers=bearer(alice)).status_code for _ in range(6)][-1] == 429
    assert limited.get("/presets", headers=bearer(bob)).status_code == 200


def test_who_tries_keys_without_end_is_slowed_down_but_nobody_is_locked_out(
    sqlite_client: TestClient, sqlite_url: str
) -> None:
    database = Database(sqlite_url)
    key = make_key(database, "alice")
    database.close()
    statuses = [sqlite_client.get("/presets", headers=bearer("guess")).status_code for _ in range(61)]
    assert statuses == [401] * 60 + [429]
    assert sqlite_client.get("/presets", headers=bearer(key)).status_code == 200


def test_only_so_many_experiments_may_wait(limited: TestClient) -> None:
    first = post(limited)["id"]
    post(limited)
    refused = limited.post("/experiments", json=TINY)
    assert "2 of your experiments wait" in problem(refused, 429)["detail"]
    assert int(refused.headers["retry-after"]) > 0
    assert limited.post(f"/experiments/{first}/cancel").status_code == 202
    post(limited)


def test_resuming_is_no_way_around_the_queue(sqlite_url: str, settings_for: SettingsFor) -> None:
    with TestClient(create_app(settings_for(sqlite_url, max_waiting_experiments=1))) as client:
        cancelled = post(client)["id"]
        assert client.post(f"/experiments/{cancelled}/cancel").status_code == 202
        post(client)
        problem(client.post(f"/experiments/{cancelled}/resume"), 429)


def test_a_small_request_for_many_runs_counts_as_many(sqlite_client: TestClient) -> None:
    document = {**TINY, "num_seeds": 1000, "corruption": {"rates": [i / 20 for i in range(1, 10)]}}
    for _ in range(5):
        assert post(sqlite_client, document)["progress"]["runs_total"] == 20_000
    refused = sqlite_client.post("/experiments", json=document)
    assert "20000 more runs" in problem(refused, 429)["detail"]
    assert int(refused.headers["retry-after"]) > 0


def test_what_many_runs_would_cost_may_be_asked_more_often_but_not_for_ever(
    sqlite_url: str, settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "CHECKS_PER_RUN", 2)
    document = {**TINY, "num_seeds": 1000, "corruption": {"rates": [i / 20 for i in range(1, 10)]}}
    with TestClient(create_app(settings_for(sqlite_url))) as client:
        asked = [client.post("/experiments?validate_only=true", json=document) for _ in range(11)]
    assert [answer.status_code for answer in asked] == [200] * 10 + [429]
    assert "20000 more runs" in problem(asked[-1], 429)["detail"]
