"""What SIGTERM does to each part while it works, and what all of them wrote into their logs meanwhile."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from shared.store import counters
from shared.store.counters import CounterName
from shared.store.db import Database, upgrade
from shared.store.keys import create_key
from shared.store.states import WAITING_JOB
from shared.store.tables import EpochMetrics, Worker
from tests.e2e.services import command, environment, url_printed_by
from tests.e2e.test_story import LONG, SMALL
from tests.shared.store.broker import Broker
from tests.shared.store.conftest import module_broker as module_broker  # noqa: PLC0414 (a fixture, lent)
from tests.shared.store.experiments import job, job_ids

PARTS = ("api", "worker", "reconciler")
GRACE_S = 30.0
# Nothing has to be compiled before it begins.
ENDLESS = {**LONG, "training": {**LONG["training"], "engine": "serial"}}

pytestmark = pytest.mark.timeout(240)


@dataclass
class Parts:
    """The parts of a service, each with a log of its own, and a client with a key."""

    folder: Path
    database: Database
    key: str
    processes: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)
    url: str = ""

    def client(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def end(self, name: str) -> int:
        """Ask a part to end; its exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(GRACE_S)

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{name}.log").read_text().splitlines()]

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines(name) if line["event"] == event]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, module_broker: Broker) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("draining")
    url = f"sqlite:///{folder / 'data' / 'actrobust.db'}"
    upgrade(url)
    database = Database(url)
    with database.write() as session:
        key = create_key(session, "alice").text
    parts = Parts(folder, database, key)
    env = environment(
        folder / "data", ACTROBUST_BROKER_URL=module_broker.url, ACTROBUST_LOG_FORMAT="json",
        ACTROBUST_LOG_LEVEL="DEBUG", ACTROBUST_WORKER_PROCESSES="1",
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        for name in PARTS:
            options = ["--port", "0"] if name == "api" else []
            running = command(name, *options, env=env, log=folder / f"{name}.log")
            parts.processes[name] = stack.enter_context(running)
        parts.url = url_printed_by(parts.processes["api"], folder / "api.log")
        yield parts
    database.close()


def wait_until_it_trains(database: Database, experiment_id: str) -> str:
    """Wait for some epochs of an experiment of one job; the id of that."""
    (job_id,) = job_ids(database, experiment_id)
    deadline_s = time.monotonic() + 90
    while num_epochs(database) < 10:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return job_id


def num_epochs(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(EpochMetrics)) or 0


def check_handed_back(database: Database, job_id: str) -> None:
    """The job waits again from a checkpoint, nothing counts as lost, and nobody claims to be there."""
    left = job(database, job_id)
    # Dispatched, where a reconciler has rung for it since.
    assert left.state in WAITING_JOB
    assert (left.losses, left.worker_id) == (0, None)
    assert left.checkpoints
    with database.read() as session:
        counted = counters.read(session)
        assert session.scalars(select(Worker).where(Worker.slots > 0)).all() == []
    assert counted == {CounterName.LEASE_LOSSES: 0, CounterName.EPOCHS_TRAINED: num_epochs(database)}


def test_each_part_ends_in_order_and_in_time(parts: Parts) -> None:
    with parts.client() as client:
        experiment_id = client.post("/experiments", json=ENDLESS).json()["id"]
        client.get(f"/experiments?key={parts.key}")
    job_id = wait_until_it_trains(parts.database, experiment_id)
    assert parts.end("worker") == 0
    assert parts.end("reconciler") == 0
    check_handed_back(parts.database, job_id)
    check_that_the_api_answers_what_it_has_begun(parts)


def check_that_the_api_answers_what_it_has_begun(parts: Parts) -> None:
    answers: list[int] = []

    def post() -> None:
        with parts.client() as client:
            answers.append(client.post("/experiments", json=SMALL).status_code)

    with contextlib.closing(sqlite3.connect(parts.folder / "data" / "actrobust.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        caller = threading.Thread(target=post)
        caller.start()
        time.sleep(1)
        parts.processes["api"].send_signal(signal.SIGTERM)
        time.sleep(1)
        assert answers == []
        other.execute("COMMIT")
    caller.join()
    assert answers == [202]
    assert parts.processes["api"].wait(GRACE_S) == 0


def test_every_line_is_json_and_leads_from_the_request_to_the_job(parts: Parts) -> None:
    (posted, _) = parts.events("api", "experiment posted")
    (request, _) = [line for line in parts.events("api", "request") if line["status"] == 202]
    assert (request["method"], request["route"], request["owner"]) == ("POST", "/experiments", "alice")
    assert posted["request_id"] == request["request_id"]
    assert request["duration_ms"] > 0
    (begun,) = parts.events("worker", "training begins")
    assert begun["experiment"] == posted["experiment"]
    for event in ("job claimed", "epoch committed", "job handed back"):
        assert {line["job"] for line in parts.events("worker", event)} == {begun["job"]}
    assert parts.events("reconciler", "reconciler running")


def test_no_log_holds_a_key(parts: Parts) -> None:
    secret = parts.key.rpartition("_")[2]
    for name in PARTS:
        text = (parts.folder / f"{name}.log").read_text()
        assert text
        assert parts.key not in text
        assert secret not in text


def test_serve_hands_its_jobs_back_too(tmp_path: Path) -> None:
    env = environment(tmp_path / "data", ACTROBUST_WORKER_PROCESSES="1")
    with command("serve", "--port", "0", env=env, log=tmp_path / "log") as serving:
        with httpx2.Client(base_url=url_printed_by(serving, tmp_path / "log"), timeout=30, trust_env=False) as client:
            experiment_id = client.post("/experiments", json=ENDLESS).json()["id"]
        database = Database(f"sqlite:///{tmp_path / 'data' / 'actrobust.db'}")
        job_id = wait_until_it_trains(database, experiment_id)
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(GRACE_S) == 0
    check_handed_back(database, job_id)
    database.close()
