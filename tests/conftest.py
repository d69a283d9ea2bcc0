"""Fixtures for every test: databases, a broker, data sets, and the API on top of them.

Where a server is absent, the tests that need it skip and say so; with ACTROBUST_TEST_REQUIRE_SERVICES=1 they fail.
"""

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psycopg
import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from sqlalchemy import make_url

from shared.settings import Settings
from shared.store.db import Database, upgrade
from shared.store.tables import Base

if TYPE_CHECKING:
    from starlette.testclient import TestClient

POSTGRES_URL = os.environ.get("ACTROBUST_TEST_POSTGRES_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
REDIS_URL = os.environ.get("ACTROBUST_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
DATASETS_DIR = os.environ.get("ACTROBUST_TEST_DATASETS_DIR", str(Path(__file__).parents[2] / "shared" / "data"))
REQUIRE_SERVICES = os.environ.get("ACTROBUST_TEST_REQUIRE_SERVICES") == "1"
CONNECT_TIMEOUT_S = 3
# Which of several test processes this is, from 0.
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
COMPILED_DIR = "ACTROBUST_TEST_COMPILED_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """One folder for all test processes of a run: what one of them compiled, the others find."""
    if COMPILED_DIR not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="actrobust-compiled-")
        os.environ[COMPILED_DIR] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_finish() -> None:
    """As in a training process: several threads for networks this small only wait for each other."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def redis_database(nth: int) -> str:
    """The URL of one of the two databases, 0 or 1, that belong to this test process: they are counted down."""
    url = make_url(REDIS_URL)
    number = int(url.database or 0) - 2 * PROCESS - nth
    if number < 0:
        absent(f"{PROCESS + 1} test processes need as many pairs of databases, {REDIS_URL} and those before it")
    return url.set(database=str(number)).render_as_string(hide_password=False)


# For `pytest --hypothesis-profile unshrunk`: a failure is told at once, as it was found.
hypothesis_settings.register_profile("unshrunk", phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)


def absent(reason: str) -> NoReturn:
    """Skip a test for want of something, or fail it where everything is required."""
    if REQUIRE_SERVICES:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating takes longer than most tests."""
    folder = tmp_path_factory.mktemp("sqlite")
    upgrade(f"sqlite:///{folder / 'migrated.db'}")
    template = folder / "template.db"
    with (
        contextlib.closing(sqlite3.connect(folder / "migrated.db")) as source,
        contextlib.closing(sqlite3.connect(template)) as target,
    ):
        source.backup(target)
    return template


class PostgresServer:
    """Makes databases on the server of the tests, and lends migrated ones that are emptied between tests."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self._free: list[str] = []
        self._made: list[str] = []

    def new_name(self, what: str) -> str:
        return f"actrobust_{what}_{uuid.uuid4().hex}"

    def url_of(self, name: str) -> str:
        return self.url.set(database=name).render_as_string(hide_password=False)

    def execute(self, statement: str, *, database: str | None = None) -> None:
        url = self.url.set(drivername="postgresql", database=database or self.url.database)
        plain = url.render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.execute(statement.encode())

    def drop(self, name: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def lend(self) -> str:
        """The URL of a migrated, empty database. Dropping one takes seconds, so that it is lent again."""
        if not self._free:
            name = self.new_name("test")
            self.execute(f'CREATE DATABASE "{name}"')
            self._made.append(name)
            upgrade(self.url_of(name))
            self._free.append(name)
        return self.url_of(self._free.pop())

    def disconnect_all(self, url: str) -> None:
        """Close every connection to a database from the server's side."""
        name = make_url(url).database
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def take_back(self, url: str) -> None:
        """Empty a database for the next test; one that a test has altered beyond that is not lent again."""
        self.disconnect_all(url)
        name = str(make_url(url).database)
        deletes = [f'DELETE FROM "{table.name}"' for table in reversed(Base.metadata.sorted_tables)]
        with contextlib.suppress(psycopg.Error):
            self.execute("; ".join(deletes), database=name)
            self._free.append(name)

    def drop_all(self) -> None:
        """Leave the server as it was."""
        for name in self._made:
            self.drop(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server, if there is one."""
    server = PostgresServer(POSTGRES_URL)
    try:
        server.take_back(server.lend())
    except psycopg.Error as error:
        absent(f"PostgreSQL cannot be used: {str(error).strip().splitlines()[0]}")
    yield server
    server.drop_all()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database."""
    path = tmp_path / "actrobust.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated PostgreSQL database."""
    url = postgres_server.lend()
    yield url
    postgres_server.take_back(url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own, on each server in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An emptied database of a Redis or Valkey server; tests that use it carry the marker `redis`."""
    with emptied(redis_database(0)) as url:
        yield url


@contextlib.contextmanager
def emptied(url: str) -> Iterator[str]:
    """A Redis database, empty before and after."""
    import redis

    with redis.Redis.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT_S) as connection:
        try:
            connection.flushdb()
        except redis.RedisError as error:
            absent(f"Redis cannot be used at {url}: {error}")
        yield url
        connection.flushdb()


@pytest.fixture(scope="session")
def datasets_dir() -> Path:
    """Where torchvision's MNIST files lie; tests that use it carry the marker `mnist`."""
    path = Path(DATASETS_DIR)
    if not (path / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        absent(f"the MNIST files are not in {path}; ACTROBUST_TEST_DATASETS_DIR names another folder")
    return path


@pytest.fixture
def broker_url(tmp_path: Path) -> str:
    """A broker that is away; a module that needs one overrides this fixture."""
    return f"redis+socket://{tmp_path / 'nobody.sock'}"


@pytest.fixture
def settings(database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that nothing of this machine's environment reaches."""
    for name in [name for name in os.environ if name.startswith("ACTROBUST_") and "_TEST_" not in name]:
        monkeypatch.delenv(name)
    return Settings(
        _env_file=None, data_dir=tmp_path / "data", database_url=database_url, broker_url=broker_url,
        allowed_hosts="testserver",
    )  # fmt: skip


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """The migrated database, open."""
    database = Database(settings.effective_database_url)
    yield database
    database.close()


@pytest.fixture
def client(settings: Settings) -> "Iterator[TestClient]":
    """The API, in this process."""
    from starlette.testclient import TestClient

    from api.app import create_app

    with TestClient(create_app(settings)) as client:
        yield client
