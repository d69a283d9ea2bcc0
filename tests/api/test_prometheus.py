import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, insert
from starlette.testclient import TestClient

from api import prometheus
from shared.store import counters, presence, queue
from shared.store.counters import CounterName
from shared.store.db import Database
from shared.store.monitoring import figures
from shared.store.tables import Experiment, Job
from shared.store.types import new_id
from tests.api.conftest import SettingsFor
from tests.api.support import TINY, jobs_of, post, train
from tests.deploy.files import ROOT
from tests.shared.store.experiments import lose, silence


@pytest.fixture(autouse=True)
def _nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "FIGURES_HOLD_S", 0.0)


def scraped(client: TestClient) -> dict[str, float]:
    """What Prometheus would read, by name and labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(response.text)
    return {
        sample.name.removeprefix("actrobust_") + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_an_idle_service_shows_zeros_instead_of_gaps(client: TestClient) -> None:
    shown = scraped(client)
    for name in ("jobs,pending", "jobs,failed", "experiments,running", "queue_depth,any", "queue_depth,cuda",
                 "oldest_waiting_job_age_seconds", "worker_slots,cpu", "worker_slots_busy", "reconcilers",
                 "jobs_overdue", "epochs_trained_total", "lease_losses_total", "broker_up"):  # fmt: skip
        assert shown[name] == 0, name
    assert shown["process_resident_memory_bytes"] > 0


def test_the_figures_follow_the_service(client: TestClient, database: Database) -> None:
    worker_id = new_id()
    with database.write() as session:
        presence.announce(session, worker_id, device="cpu")
        presence.announce(session, new_id(), device=presence.RECONCILER)
        counters.add(session, CounterName.EPOCHS_TRAINED, 24)
    train(database, post(client)["id"])
    waiting, lost = jobs_of(database, post(client, {**TINY, "reuse": False})["id"])
    lose(database, lost)
    with database.write() as session:
        assert queue.claim(session, lost, worker_id) is not None
    time.sleep(0.05)
    shown = scraped(client)
    # The API's bell may be trying the broker, which is away, just now.
    num_waiting = shown["jobs,pending"] + shown["jobs,dispatched"]
    assert (shown["jobs,succeeded"], num_waiting, shown["jobs,running"]) == (2, 1, 1)
    assert (shown["experiments,succeeded"], shown["experiments,running"]) == (1, 1)
    assert (shown["queue_depth,any"], shown["worker_slots,cpu"], shown["worker_slots_busy"]) == (1, 1, 1)
    assert (shown["reconcilers"], shown["epochs_trained_total"], shown["lease_losses_total"]) == (1, 24, 1)
    assert 0.05 <= shown["oldest_waiting_job_age_seconds"] < 60
    silence(database, lost, claimed_s=100, heartbeat_s=None)
    assert scraped(client)["jobs_overdue"] == 1
    assert waiting != lost


def test_the_documentation_names_every_metric_and_no_other(client: TestClient) -> None:
    families = text_string_to_metric_families(client.get("/metrics").text)
    shown = {family.name for family in families if family.name.startswith("actrobust_")}
    named = re.findall(r"actrobust_[a-z_]+", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    assert {name.removesuffix("_total").removesuffix("_count") for name in named} == shown


def test_however_often_it_is_asked_the_database_is_not(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(prometheus, "FIGURES_HOLD_S", 60.0)
    assert scraped(client)["jobs,pending"] == 0
    post(client)
    assert scraped(client)["jobs,pending"] == 0
    assert client.get("/experiments").json()["items"]


def test_a_scrape_is_cheap_beside_seventy_thousand_jobs(
    database: Database, settings_for: SettingsFor, database_url: str
) -> None:
    experiment = {"owner": "local", "name": "x", "dataset": "fbm", "state": "running", "spec": {}, "provenance": {},
                  "num_epochs": 1, "created_at": datetime.now(UTC)}  # fmt: skip
    states = ["succeeded"] * 6 + ["pending"]
    with database.write() as session:
        row = Experiment(id=new_id(), **experiment)
        session.add(row)
        session.flush()
        session.execute(insert(Job), [_job(row.id, states[n % 7]) for n in range(70_000)])
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *told: statements.append(str(told[2])))
    with database.read() as session:
        began_s = time.perf_counter()
        found = figures(session, settings_for(database_url))
        took_s = time.perf_counter() - began_s
    assert (found.jobs["succeeded"], found.jobs["pending"]) == (60_000, 10_000)
    assert len(statements) < 20
    # Tens of milliseconds on an idle core; the bound leaves room for a busy one.
    assert took_s < 2


def _job(experiment_id: str, state: str) -> dict[str, Any]:
    return {
        "id": new_id(), "experiment_id": experiment_id, "activation": "relu", "activation_kind": "relu",
        "device": "any", "state": state, "token": 0, "losses": 0, "checkpoints": [],
    }  # fmt: skip
