import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from api.background import Bell
from shared.store import queue
from shared.store.db import Database
from shared.store.tables import Experiment, Job
from tests.api.support import NUMERICS, claim, jobs_of, post, problem, train

NOBODY = str(uuid.UUID(int=7))
METHODS = (
    ("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/resume"), ("GET", "/runs"), ("GET", "/metrics"),
    ("GET", "/metrics?format=csv"), ("GET", "/robustness"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path"), METHODS)
@pytest.mark.parametrize("experiment_id", [NOBODY, "nonsense", "0", "%00", "..%2Fexperiments", "a" * 5000])
def test_an_id_that_nothing_has_is_not_found(
    sqlite_client: TestClient, method: str, path: str, experiment_id: str
) -> None:
    assert problem(sqlite_client.request(method, f"/experiments/{experiment_id}{path}"), 404)


@pytest.mark.parametrize(("method", "path"), METHODS)
def test_a_misspelt_query_is_refused_everywhere(sqlite_client: TestClient, method: str, path: str) -> None:
    address = f"/experiments/{post(sqlite_client)['id']}{path}"
    response = sqlite_client.request(method, address + ("&" if "?" in path else "?") + "nonsense=1")
    assert problem(response, 422)["errors"][0]["parameter"] == "nonsense"


def test_progress_and_provenance_follow_the_workers(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id, num_jobs=1, epochs=3, complete=False)
    experiment = client.get(f"/experiments/{experiment_id}").json()
    runs = len(jobs_of(database, experiment_id)) and 12
    assert experiment["state"] == "running"
    assert experiment["started_at"] is not None
    assert experiment["progress"]["runs_total"] == runs
    assert experiment["progress"]["epochs_total"] == 48
    assert 0 < experiment["progress"]["epochs_done"] < 48
    assert experiment["provenance"]["numerics"] == [NUMERICS]


def test_a_finished_experiment_says_so(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    experiment = client.get(f"/experiments/{experiment_id}").json()
    assert experiment["state"] == "succeeded"
    assert experiment["progress"] == {
        "runs_total": 12, "runs_finished": 12, "runs_failed": 0, "runs_reused": 0,
        "epochs_total": 48, "epochs_done": 48, "eta_s": None,
    }  # fmt: skip
    assert experiment["created_at"] <= experiment["started_at"] <= experiment["finished_at"]
    assert all(experiment[name].endswith("Z") for name in ("created_at", "started_at", "finished_at"))
    assert experiment["error"] is None


def test_the_time_left_is_the_time_so_far_times_what_remains(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    assert client.get(f"/experiments/{experiment_id}").json()["progress"]["eta_s"] is None
    train(database, experiment_id, num_jobs=1, epochs=2, complete=False)
    with database.write() as session:
        experiment = session.get_one(Experiment, experiment_id)
        experiment.running_since = datetime.now(UTC) - timedelta(seconds=100)
        experiment.epochs_before = 2  # done before a resume, long ago
    progress = client.get(f"/experiments/{experiment_id}").json()["progress"]
    expected_s = 100 / (progress["epochs_done"] - 2) * (48 - progress["epochs_done"])
    assert progress["eta_s"] == pytest.approx(expected_s, rel=0.05)


def test_a_failed_experiment_gives_the_reason(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    for job_id in jobs_of(database, experiment_id):
        lease = claim(database, job_id)
        with database.write() as session:
            queue.fail(session, lease, "the disk is full")
    experiment = client.get(f"/experiments/{experiment_id}").json()
    assert experiment["state"] == "failed"
    assert "the disk is full" in experiment["error"]
    assert experiment["progress"]["runs_failed"] == 12


def test_an_unchanged_experiment_is_not_sent_again(client: TestClient, database: Database) -> None:
    path = f"/experiments/{post(client)['id']}"
    first = client.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (tag, "*", f'"other", {tag}', tag.removeprefix("W/"), f'{tag} , "x"'):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "no-cache"
    for unknown in ('"other"', 'W/"other"', "", tag.strip('W/"')):
        assert client.get(path, headers={"If-None-Match": unknown}).status_code == 200


def test_passing_time_alone_changes_no_tag(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id, num_jobs=1, epochs=2, complete=False)
    first = client.get(f"/experiments/{experiment_id}")
    second = client.get(f"/experiments/{experiment_id}")
    assert first.json()["progress"]["eta_s"] != second.json()["progress"]["eta_s"]
    assert first.headers["etag"] == second.headers["etag"]


def test_every_change_changes_the_tag(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    path = f"/experiments/{experiment_id}"
    tags = [client.get(path).headers["etag"]]
    job_id, *_ = jobs_of(database, experiment_id)
    lease = claim(database, job_id)
    tags.append(client.get(path).headers["etag"])
    with database.write() as session:
        queue.complete(session, lease)
    tags.append(client.get(path).headers["etag"])
    client.post(f"{path}/cancel")
    tags.append(client.get(path).headers["etag"])
    assert len(set(tags)) == len(tags)


def test_a_tag_of_something_that_does_not_exist_is_still_not_found(sqlite_client: TestClient) -> None:
    response = sqlite_client.get(f"/experiments/{uuid.uuid4()}", headers={"If-None-Match": "*"})
    assert problem(response, 404)


def test_cancelling_what_waits_ends_it_at_once(client: TestClient) -> None:
    path = f"/experiments/{post(client)['id']}"
    response = client.post(f"{path}/cancel")
    assert (response.status_code, response.json()["state"]) == (202, "cancelling")
    assert client.get(path).json()["state"] == "cancelled"
    again = client.post(f"{path}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


def test_cancelling_waits_for_what_trains(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    path = f"/experiments/{experiment_id}"
    lease = claim(database, jobs_of(database, experiment_id)[0])
    for _ in range(2):
        response = client.post(f"{path}/cancel")
        assert (response.status_code, response.json()["state"]) == (202, "cancelling")
        assert client.get(path).json()["state"] == "cancelling"
    with database.write() as session:
        assert queue.confirm_cancelled(session, lease)
    assert client.get(path).json()["state"] == "cancelled"


def test_a_finished_experiment_cannot_be_cancelled(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    response = client.post(f"/experiments/{experiment_id}/cancel")
    assert "succeeded" in problem(response, 409)["detail"]
    assert client.get(f"/experiments/{experiment_id}").json()["state"] == "succeeded"


def test_a_cancelled_experiment_can_be_resumed(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    path = f"/experiments/{experiment_id}"
    train(database, experiment_id, num_jobs=1)
    client.post(f"{path}/cancel")
    finished = client.get(path).json()["progress"]["runs_finished"]
    response = client.post(f"{path}/resume")
    assert (response.status_code, response.json()["state"]) == (202, "queued")
    assert response.json()["finished_at"] is None
    assert response.json()["progress"]["runs_finished"] == finished


def test_workers_are_rung_for_once_everybody_can_see_that_jobs_wait_again(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/experiments/{post(client)['id']}"
    client.post(f"{path}/cancel")
    seen: list[list[str]] = []

    def look(_bell: Bell) -> None:
        with database.read() as session:
            seen.append(list(session.scalars(select(Job.state))))

    monkeypatch.setattr(Bell, "ring", look)
    assert client.post(f"{path}/resume").status_code == 202
    assert seen == [["pending", "pending"]]


@pytest.mark.parametrize("is_finished", [False, True])
def test_there_may_be_nothing_to_resume(client: TestClient, database: Database, is_finished: bool) -> None:
    experiment_id = post(client)["id"]
    if is_finished:
        train(database, experiment_id)
    assert problem(client.post(f"/experiments/{experiment_id}/resume"), 409)


def test_a_deleted_experiment_is_gone(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    path = f"/experiments/{experiment_id}"
    train(database, experiment_id)
    response = client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    for method, below in METHODS:
        assert problem(client.request(method, path + below), 404)
    assert client.get("/experiments").json() == {"items": []}


def test_only_a_finished_experiment_can_be_deleted(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    path = f"/experiments/{experiment_id}"
    assert "cancel it" in problem(client.delete(path), 409)["detail"]
    claim(database, jobs_of(database, experiment_id)[0])
    assert problem(client.delete(path), 409)
    client.post(f"{path}/cancel")
    assert problem(client.delete(path), 409)
    assert client.get(path).status_code == 200
