"""The health checks of the compose file, run as they stand there."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from shared.store import presence
from shared.store.db import Database
from shared.store.states import ExperimentState, JobState
from shared.store.tables import Experiment, Job, Worker
from shared.store.types import ago, new_id
from tests.deploy.files import ROOT, compose

HOUR = timedelta(hours=1)


def is_healthy(name: str, url: str) -> bool:
    how, program, *arguments = compose()["services"][name]["healthcheck"]["test"]
    assert (how, program) == ("CMD", "python")
    environment = {**os.environ, "ACTROBUST_DATABASE_URL": url}
    result = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, check=False)
    # Exit code 1 with an error on stderr would be the check's own fault.
    assert result.stderr == b"" or b"ServiceUnavailableError" in result.stderr, result.stderr
    return result.returncode == 0


def add_running_job(database: Database, *, claimed_at: datetime) -> None:
    with database.write() as session:
        experiment = Experiment(
            owner="local", name="x", dataset="fbm", state=ExperimentState.RUNNING, spec={}, provenance={}, num_epochs=1,
            created_at=claimed_at,
        )  # fmt: skip
        session.add(experiment)
        session.flush()
        session.add(
            Job(
                experiment_id=experiment.id, activation="relu", activation_kind="relu", device="any",
                state=JobState.RUNNING, claimed_at=claimed_at,
            )
        )  # fmt: skip


def announce(database: Database, device: str) -> None:
    with database.write() as session:
        presence.announce(session, new_id(), device=device)


def test_a_worker_is_healthy_once_one_of_its_processes_has_announced_itself(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    announce(database, presence.RECONCILER)
    assert not is_healthy("worker", sqlite_url)
    announce(database, "cpu")
    database.close()
    assert is_healthy("worker", sqlite_url)


def test_a_reconciler_that_fell_silent_is_unhealthy(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    announce(database, "cpu")
    assert not is_healthy("reconciler", sqlite_url)
    announce(database, presence.RECONCILER)
    assert is_healthy("reconciler", sqlite_url)
    with database.write() as session:
        session.execute(update(Worker).values(heartbeat_at=ago(100)), execution_options={"synchronize_session": False})
    database.close()
    assert not is_healthy("reconciler", sqlite_url)


def test_the_reconciler_is_unhealthy_when_a_silent_workers_job_is_not_taken_back(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    announce(database, presence.RECONCILER)
    add_running_job(database, claimed_at=datetime.now(UTC))
    assert is_healthy("reconciler", sqlite_url)
    add_running_job(database, claimed_at=datetime.now(UTC) - HOUR)
    database.close()
    assert not is_healthy("reconciler", sqlite_url)


@pytest.mark.parametrize("name", ["worker", "worker-gpu", "reconciler"])
def test_nothing_is_healthy_while_the_database_is_away(name: str) -> None:
    assert not is_healthy(name, "postgresql://nobody@127.0.0.1:1/none")
