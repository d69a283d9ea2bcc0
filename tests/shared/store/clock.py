"""A clock for the database that stands still until a test moves it. The statements of the product stay as they are.

SQLite and PostgreSQL both let a connection put a function of its own before the built-in one.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, text

from shared.store.db import Database

START = datetime(2026, 3, 1, tzinfo=UTC)
POSTGRES_CLOCK = """
CREATE SCHEMA still;
CREATE TABLE still.clock AS SELECT TIMESTAMPTZ '2026-03-01 00:00:00+00' AS moment;
CREATE FUNCTION still.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT moment FROM still.clock';
"""


class StillClock:
    """The time of one database, in seconds since START; make it before the database is used."""

    def __init__(self, database: Database) -> None:
        self.now_s = 0
        self._database = database
        self._on_sqlite = database.engine.dialect.name == "sqlite"
        event.listen(database.engine, "connect", self._put_on_sqlite if self._on_sqlite else _put_on_postgres)
        if not self._on_sqlite:
            self._execute(POSTGRES_CLOCK)

    def set(self, now_s: int) -> None:
        """Let it be that late."""
        self.now_s = now_s
        if not self._on_sqlite:
            self._execute(f"UPDATE still.clock SET moment = '{START + timedelta(seconds=now_s)}'")

    def seconds(self, moment: datetime | None) -> float | None:
        """A time that the database wrote, in the seconds of this clock."""
        return None if moment is None else (moment - START).total_seconds()

    def remove(self) -> None:
        """Give the database its own clock back, for connections yet to be opened."""
        if not self._on_sqlite:
            self._execute("DROP SCHEMA still CASCADE")

    def _execute(self, script: str) -> None:
        with self._database.write() as session:
            session.execute(text(script))

    def _put_on_sqlite(self, connection: Any, _record: object) -> None:
        def strftime(_format: str, base: str, shift: str) -> str:
            assert base == "now"
            moment = START + timedelta(seconds=self.now_s + float(shift.removesuffix(" seconds")))
            return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

        connection.create_function("strftime", 3, strftime)
        # Nothing pulls the plug on a test: what is written need not reach the disk.
        connection.execute("PRAGMA synchronous=OFF")


def _put_on_postgres(connection: Any, _record: object) -> None:
    # Unless it is named, pg_catalog comes before all others.
    connection.execute("SET search_path = public, still, pg_catalog")
    connection.execute("SET synchronous_commit = off")
    connection.commit()
