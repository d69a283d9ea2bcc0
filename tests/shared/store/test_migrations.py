"""Databases with rows, brought forward one revision after another."""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import MetaData, Table, insert, select
from sqlalchemy.orm import Session

from shared.plan import plan
from shared.settings import Settings
from shared.store import repository
from shared.store.db import Database, upgrade
from shared.store.keys import LOCAL_OWNER
from shared.store.schema import present_revision, revisions
from shared.store.states import JobState
from shared.store.tables import IdempotencyKey
from shared.store.types import new_id
from tests.conftest import PostgresServer
from tests.shared.specs import tiny_serial
from tests.shared.store.experiments import job, job_ids
from tests.worker.processes import train

Rows = dict[str, list[dict[str, Any]]]
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'old.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.new_name("old")
    server.execute(f'CREATE DATABASE "{name}"')
    yield server.url_of(name)
    server.drop(name)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Session]:
    database = Database(url)
    with database.write() as session:
        yield session
    database.close()


def tables(session: Session) -> dict[str, Table]:
    """The tables as they are, not as the models of today say."""
    metadata = MetaData()
    metadata.reflect(session.connection())
    return {name: table for name, table in metadata.tables.items() if name != "alembic_version"}


def rows(url: str) -> Rows:
    with opened(url) as session:
        found = {name: session.execute(select(table)).mappings().all() for name, table in tables(session).items()}
    return {name: sorted((dict(row) for row in each), key=repr) for name, each in found.items()}


class FirstRows:
    """An experiment, its jobs, runs and metrics, and what lay beside them, as the first revision kept them."""

    def __init__(self, session: Session) -> None:
        self.session, self.tables = session, tables(session)
        self.on_sqlite = session.get_bind().dialect.name == "sqlite"
        self.spec = tiny_serial(activations=["relu", "elu"])

    def id(self, text_id: str) -> Any:
        return UUID(text_id).bytes if self.on_sqlite else text_id

    def add(self, table: str, **values: Any) -> None:
        moment = MOMENT if self.on_sqlite else MOMENT.replace(tzinfo=UTC)
        values = {name: moment if value is MOMENT else value for name, value in values.items()}
        self.session.execute(insert(self.tables[table]).values(values))

    def write(self, experiment_id: str) -> None:
        self.add("experiments", id=self.id(experiment_id), name="old", dataset="fbm", state="running",
                 spec=self.spec.model_dump(mode="json"), provenance={"actrobust": "0"}, num_epochs=3, epochs_before=0,
                 created_at=MOMENT, started_at=MOMENT)  # fmt: skip
        self.add("idempotency_keys", key="monday", body_hash="h", status=202, response='{"a": 1}',
                 experiment_id=self.id(experiment_id), created_at=MOMENT)  # fmt: skip
        self.add("workers", id=self.id(new_id()), host="h", pid=1, device="cpu", slots=1, started_at=MOMENT,
                 heartbeat_at=MOMENT)  # fmt: skip
        for planned in plan(self.spec).jobs:
            job_id = new_id()
            self.add("jobs", id=self.id(job_id), experiment_id=self.id(experiment_id), activation=planned.activation,
                     activation_kind=planned.activation, device="any", state="pending", token=2, losses=1,
                     checkpoints=[])  # fmt: skip
            for run in planned.runs:
                run_id = new_id()
                self.add("runs", id=self.id(run_id), experiment_id=self.id(experiment_id), job_id=self.id(job_id),
                         position=run.position, activation=planned.activation, rate=run.rate, seed=run.seed,
                         state="pending", epoch=1, null_loss=1 / 3)  # fmt: skip
                self.add("epoch_metrics", run_id=self.id(run_id), epoch=1, train_loss=1 / 7, val_loss=None,
                         nonfinite="inf")  # fmt: skip


@pytest.fixture
def experiment_id(empty_url: str) -> str:
    """An experiment in a database of the first revision."""
    experiment_id = new_id()
    upgrade(empty_url, revisions()[0])
    with opened(empty_url) as session:
        FirstRows(session).write(experiment_id)
    return experiment_id


def lost(before: Rows, after: Rows) -> list[str]:
    """What of the rows is gone or has changed; columns may have come."""
    return [
        f"{name}: {row}"
        for name, each in before.items()
        for row in each
        if not any(all(other.get(column) == value for column, value in row.items()) for other in after[name])
    ]


def test_no_revision_loses_a_row_or_changes_what_it_holds(empty_url: str, experiment_id: str) -> None:
    before = rows(empty_url)
    assert {name: len(each) for name, each in before.items()} == {
        "experiments": 1, "idempotency_keys": 1, "workers": 1, "jobs": 2, "runs": 8, "epoch_metrics": 8,
    }  # fmt: skip
    for revision in revisions()[1:]:
        upgrade(empty_url, revision)
        with opened(empty_url) as session:
            assert present_revision(session) == revision
        after = rows(empty_url)
        assert lost(before, after) == [], f"in revision {revision}"
        assert {name: len(after[name]) for name in before} == {name: len(each) for name, each in before.items()}
        before = after


def test_what_was_there_before_owners_belongs_to_local(empty_url: str, experiment_id: str) -> None:
    upgrade(empty_url)
    with opened(empty_url) as session:
        assert repository.get_experiment(session, experiment_id, owner=LOCAL_OWNER).name == "old"
        assert session.get_one(IdempotencyKey, (LOCAL_OWNER, "monday")).response == '{"a": 1}'


def test_an_unfinished_experiment_goes_on_after_the_upgrade(
    empty_url: str, experiment_id: str, tmp_path: Path, broker_url: str
) -> None:
    upgrade(empty_url)
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", database_url=empty_url, broker_url=broker_url)
    database = Database(empty_url)
    train(settings, *job_ids(database, experiment_id)[:1])
    first, second = (job(database, job_id) for job_id in job_ids(database, experiment_id))
    assert (first.state, first.token, second.state) == (JobState.SUCCEEDED, 3, JobState.PENDING)
    database.close()


def test_no_row_is_left_without_what_it_belongs_to(tmp_path: Path) -> None:
    """SQLite changes some tables by copying them; what refers to them must not notice."""
    url, path = f"sqlite:///{tmp_path / 'old.db'}", tmp_path / "old.db"
    upgrade(url, revisions()[0])
    with opened(url) as session:
        FirstRows(session).write(new_id())
    upgrade(url)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
