"""The backups that docs/operations.md describes, taken while a job trains, and restored into a new service."""

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from shared.settings import Settings
from shared.store import reconciler
from shared.store.db import Database, upgrade
from shared.store.states import JobState
from tests.conftest import PostgresServer, absent
from tests.shared.specs import tiny_serial
from tests.shared.store.experiments import everything, job, job_ids, post, silence
from tests.worker.processes import SLICES_PER_EPOCH, After, measured, train

Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def _slices_of_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.training.serial.SLICE_S", -1.0)


def tool(name: str) -> str:
    """A program of SQLite or PostgreSQL; Debian keeps those of PostgreSQL out of the way."""
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    found = next((place for place in places if place), None)
    if found is None:
        absent(f"needs {name}")
    return found


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def path_of(url: str) -> str:
    return str(make_url(url).database)


def with_the_shell(source: str, target: Path) -> None:
    run(tool("sqlite3"), path_of(source), f".backup '{target}'")


def with_vacuum(source: str, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(path_of(source))) as connection:
        connection.execute("VACUUM INTO ?", [str(target)])


def with_pg_dump(source: str, target: Path) -> None:
    plain = make_url(source).set(drivername="postgresql").render_as_string(hide_password=False)
    run(tool("pg_dump"), "--format=custom", f"--file={target}", plain)


@dataclass
class Backup:
    """A backup, and the database as it was then."""

    take: Callable[[str, Path], None]
    source: str
    folder: Path
    rows: Rows = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "backup"

    def __call__(self) -> None:
        database = Database(self.source)
        self.rows = everything(database)
        database.close()
        self.take(self.source, self.file)
        shutil.copytree(self.folder / "data" / "checkpoints", self.folder / "copied checkpoints")


@pytest.fixture(params=["sqlite3", "VACUUM INTO", pytest.param("pg_dump", marks=pytest.mark.postgres)])
def backup(request: pytest.FixtureRequest, tmp_path: Path) -> Backup:
    """What takes the backup of a service."""
    if request.param == "pg_dump":
        tool("pg_dump")
        return Backup(with_pg_dump, request.getfixturevalue("postgres_url"), tmp_path)
    if request.param == "sqlite3":
        tool("sqlite3")
    take = with_the_shell if request.param == "sqlite3" else with_vacuum
    return Backup(take, request.getfixturevalue("sqlite_url"), tmp_path)


@pytest.fixture
def restored_url(backup: Backup, request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Restores the backup into a database that was not there before."""
    names: list[str] = []

    def restore() -> str:
        if backup.take is not with_pg_dump:
            shutil.copyfile(backup.file, backup.folder / "restored.db")
            return f"sqlite:///{backup.folder / 'restored.db'}"
        server: PostgresServer = request.getfixturevalue("postgres_server")
        names.append(server.new_name("restored"))
        server.execute(f'CREATE DATABASE "{names[0]}"')
        url = server.url_of(names[0])
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        run(tool("pg_restore"), "--no-owner", "--exit-on-error", f"--dbname={plain}", str(backup.file))
        return url

    yield restore
    for name in names:
        request.getfixturevalue("postgres_server").drop(name)


@pytest.mark.parametrize("keeps_checkpoints", [True, False], ids=["with its checkpoints", "without checkpoints"])
def test_a_backup_taken_in_the_middle_of_training_holds_everything_and_goes_on(
    backup: Backup, restored_url: Callable[[], str], keeps_checkpoints: bool, tmp_path: Path, broker_url: str
) -> None:
    settings = Settings(
        _env_file=None, data_dir=tmp_path / "data", database_url=backup.source, broker_url=broker_url,
        checkpoint_interval_s=0.0,
    )  # fmt: skip
    original = Database(backup.source)
    finished, unfinished = (post(original, tiny_serial(activations=["relu"])) for _ in range(2))
    train(settings, *job_ids(original, finished))
    (job_id,) = job_ids(original, unfinished)
    # The job trains while the backup is taken, and to its end afterwards.
    train(settings, job_id, draining=After(SLICES_PER_EPOCH + 5, backup))
    undisturbed = measured(original, unfinished)
    original.close()

    url = restored_url()
    upgrade(url)
    restored = Database(url)
    assert everything(restored) == backup.rows
    held = job(restored, job_id)
    assert (held.state, held.checkpoints[0]["epoch"]) == (JobState.RUNNING, 1)
    if keeps_checkpoints:
        shutil.copytree(tmp_path / "copied checkpoints", tmp_path / "new data" / "checkpoints")
    settings = settings.model_copy(update={"database_url": url, "data_dir": tmp_path / "new data"})
    settings = Settings(_env_file=None, **settings.model_dump())

    # Whoever trained it then is gone: its lease has run out.
    silence(restored, job_id, claimed_s=100, heartbeat_s=100)
    reconciler.reap_silent(restored, settings)
    slices = Slices()
    train(settings, job_id, draining=slices)
    assert job(restored, job_id).state == JobState.SUCCEEDED
    assert measured(restored, unfinished) == undisturbed
    assert (slices.num_trained < 3 * SLICES_PER_EPOCH) is keeps_checkpoints
    restored.close()


class Slices:
    """Counts the slices that are trained."""

    def __init__(self) -> None:
        self.num_asked = 0

    def __call__(self) -> bool:
        self.num_asked += 1
        return False

    @property
    def num_trained(self) -> int:
        """One question comes before the claim, one after the job."""
        return self.num_asked - 2
