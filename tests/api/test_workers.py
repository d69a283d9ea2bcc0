from datetime import UTC, datetime

from sqlalchemy import update
from starlette.testclient import TestClient

from shared.store import presence, queue
from shared.store.db import Database
from shared.store.tables import Worker
from shared.store.types import ago, new_id
from tests.api.support import jobs_of, post
from tests.api.test_keys import bearer, make_key
from tests.shared.store.experiments import complete


def announce(database: Database, *devices: str) -> list[str]:
    ids = [new_id() for _ in devices]
    for worker_id, device in zip(ids, devices, strict=True):
        with database.write() as session:
            presence.announce(session, worker_id, device=device)
    return ids


def claim(database: Database, job_id: str, worker_id: str) -> queue.Lease:
    with database.write() as session:
        lease = queue.claim(session, job_id, worker_id)
        assert lease is not None
    return lease


def test_without_workers_the_list_is_empty(client: TestClient) -> None:
    assert client.get("/workers").json() == {"items": []}


def test_a_worker_is_shown_with_what_it_trains_until_it_has_trained_it(client: TestClient, database: Database) -> None:
    busy, idle = announce(database, "cuda", "cpu")
    experiment = post(client)
    (job_id, _) = jobs_of(database, experiment["id"])
    lease = claim(database, job_id, busy)
    first, second = client.get("/workers").json()["items"]
    assert first["job"] == {"id": job_id, "experiment_id": experiment["id"], "activation": "relu"}
    assert (first["device"], first["slots"], first["state"]) == ("cuda", 1, "busy")
    heartbeat = datetime.fromisoformat(first["heartbeat_at"])
    assert abs((datetime.now(UTC) - heartbeat).total_seconds()) < 10
    assert (second["id"], second["state"], second["job"]) == (idle[-12:], "idle", None)
    complete(database, lease)
    assert {item["state"] for item in client.get("/workers").json()["items"]} == {"idle"}


def test_the_silent_and_those_that_train_nothing_are_not_listed(client: TestClient, database: Database) -> None:
    silent, alive, _ = announce(database, "cpu", "cpu", presence.RECONCILER)
    with database.write() as session:
        long_ago = update(Worker).where(Worker.id == silent).values(heartbeat_at=ago(40))
        session.execute(long_ago, execution_options={"synchronize_session": False})
    assert [item["id"] for item in client.get("/workers").json()["items"]] == [alive[-12:]]


def test_neither_the_machine_nor_another_owners_job_is_told(client: TestClient, database: Database) -> None:
    alice, bob = (make_key(database, name) for name in ("alice", "bob"))
    (worker_id,) = announce(database, "cpu")
    experiment_id = post(client, headers=bearer(alice))["id"]
    claim(database, jobs_of(database, experiment_id)[0], worker_id)
    shown = client.get("/workers", headers=bearer(bob))
    (item,) = shown.json()["items"]
    assert (item["state"], item["job"]) == ("busy", None)
    assert experiment_id not in shown.text
    assert item.keys() == {"id", "device", "slots", "started_at", "heartbeat_at", "state", "job"}
    assert client.get("/workers", headers=bearer(alice)).json()["items"][0]["job"]["experiment_id"] == experiment_id
