"""Connections and transactions: `Database.read()` and `Database.write()` are the only ones who begin and commit."""

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.orm import Session

from shared.errors import ServiceUnavailableError
from shared.store import events

SQLITE_BUSY_TIMEOUT_S = 30
# Most transactions take a few milliseconds.
SQLITE_PAUSE_S = (0.0005, 0.0025)
# As many as the API has threads, and a few for what it does beside answering: a connection that has to be opened first
# costs more than most transactions.
NUM_CONNECTIONS = 45
POSTGRES_OPTIONS = (
    "-c statement_timeout=60s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
)
# A server that went away without a word is found out before a lease of the default length is over.
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
# A connection that was idle for longer may have been closed by the server, or by something on the way. No server that
# fell is back in less, so that it costs those only whom it was serving.
MOST_IDLE_S = 0.1
UNKNOWN_TABLE_OR_COLUMN = ("42P01", "42703")
# What a server answers that was demoted to a standby a moment ago.
READ_ONLY = "25006"
# An execution option: let the driver read numbers as they are instead of from text, at half the time (PostgreSQL).
BINARY_RESULTS = "actrobust_binary_results"


class Database:
    """One database and its pool of connections; make it after a fork, not before."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        # A writer says so before it begins, so that SQLite can take its lock at once instead of failing half-way.
        self._writing = self.engine.execution_options(actrobust_write=True)
        # SQLite's readers see one state anyway; PostgreSQL's would see what is committed between their statements.
        one_state = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**one_state)
        # One statement sees one state anyway. Without a transaction around it, it is one message instead of three.
        self._looking = self.engine.execution_options(isolation_level="AUTOCOMMIT") if one_state else self.engine
        # SQLite's one writer at a time. Its own way to wait is to ask again after ever longer pauses, in no order.
        self._writers = threading.Lock() if self.engine.dialect.name == "sqlite" else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with _named_failures(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def look(self) -> Iterator[Session]:
        """A session for a single query, the cheapest there is; a second one may see another state of the database."""
        with _named_failures(), Session(self._looking, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with (
            _named_failures(),
            self._turn(),
            Session(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session
            events.write_noted(session)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._writers is None:
            yield
            return
        # As long as the one before may wait for another process; all who wait meanwhile give up together.
        if not self._writers.acquire(timeout=SQLITE_BUSY_TIMEOUT_S):
            raise ServiceUnavailableError("the database is busy with another process")
        try:
            yield
        finally:
            self._writers.release()

    def ping(self) -> None:
        """Raises ServiceUnavailableError: the database does not answer."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


@contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        raise ServiceUnavailableError(f"the database failed: {reason}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise ServiceUnavailableError("the database closed the connection") from error
        sqlstate = getattr(error.orig, "sqlstate", None)
        if sqlstate == READ_ONLY:
            raise ServiceUnavailableError("the database takes no writes just now") from error
        if sqlstate in UNKNOWN_TABLE_OR_COLUMN:
            raise ServiceUnavailableError("the database lacks tables; run 'actrobust db upgrade'") from error
        raise


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    return _postgres_engine(url)


def _postgres_engine(url: str) -> Engine:
    from psycopg.pq import Format

    engine = create_engine(
        url,
        pool_use_lifo=True,  # few that are busy know their statements; many that take turns would forget them
        pool_size=NUM_CONNECTIONS,
        max_overflow=5,
        hide_parameters=True,
        connect_args={"options": POSTGRES_OPTIONS, "connect_timeout": 5, **KEEPALIVE},
    )

    _ping_after_idling(engine)

    @event.listens_for(engine, "before_cursor_execute")
    def _choose_format(connection: Any, cursor: Any, _sql: str, _values: Any, context: Any, _many: bool) -> None:  # noqa: ARG001 (SQLAlchemy's signature)
        if context is not None and context.execution_options.get(BINARY_RESULTS):
            cursor.format = Format.BINARY

    return engine


def _ping_after_idling(engine: Engine) -> None:
    """Ask a connection whether it still lives before it is used again, unless it did a moment ago."""

    @event.listens_for(engine, "checkin")
    def _note_time(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, _proxy: object) -> None:
        if connection is None or time.monotonic() - record.info.get("used_at", time.monotonic()) < MOST_IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # the pool opens another one


def _sqlite_engine(url: str) -> Engine:
    path = make_url(url).database
    # A database in memory lives in one connection for each thread, and its pool has no other size.
    pool = {}
    if path and path != ":memory:":
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        pool = {"pool_size": NUM_CONNECTIONS, "max_overflow": 5}
    engine = create_engine(
        url,
        **pool,
        hide_parameters=True,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin by itself, too late and without IMMEDIATE
        _write_ahead(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        if not connection.get_execution_options().get("actrobust_write", False):
            connection.exec_driver_sql("BEGIN")
            return
        driver = connection.connection.driver_connection
        driver.execute("PRAGMA busy_timeout=0")
        try:
            if not _begin_soon(driver):
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, so that its error is raised as any other
        finally:
            driver.execute(f"PRAGMA busy_timeout={1000 * SQLITE_BUSY_TIMEOUT_S}")

    return engine


def _begin_soon(connection: sqlite3.Connection) -> bool:
    """Begin to write as soon as another process has ended; False if none lets us, or it cannot be begun at all.

    SQLite itself would ask again after pauses that grow to a tenth of a second, in which others come first.
    """
    deadline_s = time.monotonic() + SQLITE_BUSY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                return False
            time.sleep(random.uniform(*SQLITE_PAUSE_S))  # noqa: S311 # nosec B311
        else:
            return True
    return False


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, which the file remembers.

    SQLite does not wait for its lock here, as it does everywhere else: of several processes that open a new file at
    once, one may be refused. It upgrades a lock for reading, and two that wait for that would wait for each other.
    """
    deadline_s = time.monotonic() + SQLITE_BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)
        else:
            return


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the database to a schema, the newest unless told otherwise, creating it where there is none.

    Raises: ServiceUnavailableError: the database does not answer.
    """
    from alembic import command

    from shared.store.schema import alembic_config

    database = Database(database_url)
    database.ping()
    database.close()
    config = alembic_config()
    config.attributes["database_url"] = database_url
    command.upgrade(config, revision)
