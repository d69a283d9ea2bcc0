"""Column types and the database's clock, alike on SQLite and PostgreSQL."""

import uuid
from datetime import UTC, datetime
from typing import Any

import uuid_utils
from sqlalchemy import DateTime, Dialect, LargeBinary, Uuid
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeDecorator


def new_id() -> str:
    """A UUIDv7 (RFC 9562) as text: unique, and sorted by time of creation."""
    return str(uuid_utils.uuid7())


class Id(TypeDecorator[str]):
    """A UUID, text in Python: 16 bytes on SQLite, where text would double the size of the metrics; `uuid` elsewhere."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        on_sqlite = dialect.name == "sqlite"
        return dialect.type_descriptor(LargeBinary(16) if on_sqlite else Uuid(as_uuid=False))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        return uuid.UUID(value).bytes if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return str(uuid.UUID(bytes=value)) if value is not None and dialect.name == "sqlite" else value


class Timestamp(TypeDecorator[datetime]):
    """A moment with microseconds, always in UTC; SQLite keeps it as text that sorts by time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class ago(FunctionElement[datetime]):  # noqa: N801 (reads as the SQL function that it is)
    """The database's clock, some seconds back: leases are judged by one clock, not by each worker's own."""

    type = Timestamp()
    # Statements that hold the clock are compiled once in the life of a process, like all others.
    _traverse_internals = [("seconds", InternalTraversal.dp_plain_obj)]
    inherit_cache = True

    def __init__(self, seconds: float) -> None:
        self.seconds = float(seconds)
        super().__init__()


@compiles(ago, "sqlite")
def _ago_sqlite(element: ago, compiler: Any, **options: Any) -> str:  # noqa: ARG001 (SQLAlchemy's signature)
    # %f prints milliseconds; SQLAlchemy reads the digits behind the point as microseconds.
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', '-{element.seconds:f} seconds') || '000')"


@compiles(ago, "postgresql")
def _ago_postgresql(element: ago, compiler: Any, **options: Any) -> str:  # noqa: ARG001 (SQLAlchemy's signature)
    # now() would stand still for the whole transaction.
    return f"(clock_timestamp() - make_interval(secs => {element.seconds:f}))"


def now() -> ago:
    """The database's clock."""
    return ago(0)
