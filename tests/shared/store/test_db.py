import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from migrations.check import differences
from shared.errors import ServiceUnavailableError
from shared.store import db
from shared.store.db import Database, upgrade
from shared.store.keys import LOCAL_OWNER
from shared.store.tables import Experiment, IdempotencyKey, Run
from shared.store.types import ago, new_id, now
from tests.conftest import PostgresServer
from tests.shared.store.experiments import everything, post

START = datetime(2026, 3, 1, tzinfo=UTC)


def key(name: str, *, created_at: datetime = START) -> IdempotencyKey:
    return IdempotencyKey(
        owner=LOCAL_OWNER, key=name, body_hash="", status=0, response="", experiment_id=new_id(), created_at=created_at
    )


# --- transactions


def test_a_block_that_ends_is_committed_and_one_that_raises_is_not(database: Database) -> None:
    with database.write() as session:
        session.add(key("kept"))
    with suppress(RuntimeError), database.write() as session:
        session.add(key("lost"))
        session.flush()
        raise RuntimeError
    with database.read() as session:
        assert list(session.scalars(select(IdempotencyKey.key))) == ["kept"]


def test_reading_changes_nothing(database: Database) -> None:
    with database.read() as session:
        session.add(key("never"))
    with database.read() as session:
        assert list(session.scalars(select(IdempotencyKey.key))) == []


@pytest.mark.postgres
def test_a_server_that_is_back_after_a_moment_costs_nobody_his_request(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = Database(postgres_url)
    database.ping()
    postgres_server.disconnect_all(postgres_url)
    time.sleep(0.15)  # no server starts in less
    database.ping()
    database.close()


@pytest.mark.parametrize("in_one_process", [True, False])
def test_writers_take_turns_and_lose_nothing(database: Database, database_url: str, in_one_process: bool) -> None:
    with database.write() as session:
        session.add(key("counter"))

    def count() -> None:
        # Writers in one process also queue for a lock of its own; those in several share nothing but the file.
        mine = database if in_one_process else Database(database_url)
        for _ in range(10):
            with mine.write() as session:
                row = session.get_one(IdempotencyKey, (LOCAL_OWNER, "counter"), with_for_update=True)
                row.status += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.get_one(IdempotencyKey, (LOCAL_OWNER, "counter")).status == 40


def test_writers_behind_a_process_that_does_not_end_give_up_together(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "SQLITE_BUSY_TIMEOUT_S", 1)
    upgrade(sqlite_url)
    database, other = Database(sqlite_url), Database(sqlite_url)
    waited_s = []

    def write() -> None:
        begin_s = time.monotonic()
        with pytest.raises(ServiceUnavailableError), database.write() as session:
            session.add(key("never"))
        waited_s.append(time.monotonic() - begin_s)

    threads = [threading.Thread(target=write) for _ in range(8)]
    with other.write() as session:
        session.add(key("at last"))
        session.flush()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(waited_s) == 8
    assert max(waited_s) < 4
    with database.write() as session:  # nothing is left of it
        session.add(key("next"))
    for each in (database, other):
        each.close()


def test_rows_must_belong_to_something(database: Database) -> None:
    orphan = Run(
        experiment_id=new_id(), job_id=new_id(), position=0, activation="relu", rate=0.0, seed=0, state="pending"
    )
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(orphan)


def test_sqlite_is_durable_and_lets_readers_read_while_one_writes(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.read() as session:
        pragmas = {
            name: session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    database.close()


def test_a_database_that_answers_can_be_pinged(database: Database) -> None:
    database.ping()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://nobody:hunter2@127.0.0.1:1/none",
        "sqlite:////dev/null/nowhere/actrobust.db",
    ],
)
def test_a_database_that_is_away_is_reported_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises((ServiceUnavailableError, OSError)) as caught:
        Database(url).ping()
    if caught.type is ServiceUnavailableError:
        message = str(caught.value)
        assert message.startswith("the database failed: ")
        assert "\n" not in message
        assert "hunter2" not in message


# --- types


def test_ids_are_uuids_of_version_7_in_the_order_of_their_making() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert {uuid.UUID(text).version for text in ids} == {7}


def test_ids_sort_in_the_database_as_they_do_in_python(database: Database) -> None:
    ids = [post(database) for _ in range(5)]
    with database.read() as session:
        assert list(session.scalars(select(Experiment.id).order_by(Experiment.id.desc()))) == sorted(ids)[::-1]


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=zones)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moment=moments)
def test_a_moment_comes_back_in_utc_to_the_microsecond(database: Database, moment: datetime) -> None:
    name = new_id()
    with database.write() as session:
        session.add(key(name, created_at=moment))
    with database.read() as session:
        stored = session.get_one(IdempotencyKey, (LOCAL_OWNER, name)).created_at
        assert stored == moment
        assert stored.utcoffset() == timedelta(0)
        assert session.scalar(select(IdempotencyKey.key).where(IdempotencyKey.created_at == moment).limit(1))


def test_the_clock_of_the_database_tells_utc(database: Database) -> None:
    with database.read() as session:
        told, earlier = session.scalar(select(now())), session.scalar(select(ago(90)))
    assert told is not None
    assert earlier is not None
    assert abs((told - datetime.now(UTC)).total_seconds()) < 5
    assert (told - earlier).total_seconds() == pytest.approx(90, abs=0.5)


def test_ages_are_compared_with_the_clock_of_the_database(database: Database) -> None:
    for age_s, seconds, older in [(10, 9, True), (10, 11, False), (0.5, 0.25, True), (0, 1, False)]:
        name = new_id()
        with database.write() as session:
            session.add(key(name, created_at=datetime.now(UTC) - timedelta(seconds=age_s)))
        young = select(IdempotencyKey.key).where(IdempotencyKey.key == name, IdempotencyKey.created_at < ago(seconds))
        with database.read() as session:
            assert (session.scalar(young) is not None) is older


# --- migrations


def test_the_migrations_build_exactly_the_tables_of_the_models(database_url: str) -> None:
    assert differences(database_url) == []


def test_a_new_sqlite_file_is_made_with_its_folder(tmp_path: Path) -> None:
    assert differences(f"sqlite:///{tmp_path / 'new' / 'folder' / 'actrobust.db'}") == []


def test_upgrading_again_keeps_every_row(database: Database, database_url: str) -> None:
    post(database)
    before = everything(database)
    upgrade(database_url)
    assert everything(database) == before


def test_a_new_sqlite_file_that_somebody_is_writing_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "actrobust.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        end.start()
        Database(f"sqlite:///{path}").ping()
        end.join()


def upgrade_twice_at_once(url: str) -> None:
    command = [sys.executable, "-c", f"from shared.store.db import upgrade; upgrade({url!r})"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert differences(url) == []


def test_two_processes_may_upgrade_one_sqlite_file_at_once(tmp_path: Path) -> None:
    upgrade_twice_at_once(f"sqlite:///{tmp_path / 'actrobust.db'}")


@pytest.mark.postgres
def test_two_processes_may_upgrade_one_postgresql_database_at_once(postgres_server: PostgresServer) -> None:
    name = postgres_server.new_name("test")
    postgres_server.execute(f'CREATE DATABASE "{name}"')
    try:
        upgrade_twice_at_once(postgres_server.url_of(name))
    finally:
        postgres_server.drop(name)
