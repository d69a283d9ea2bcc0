"""A record that the database itself keeps during a test: every change of a state or token, and whose token wrote what.

Triggers miss nothing, where looking now and then would. Production has none of these tables.
"""

from dataclasses import dataclass

from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, func, insert, literal, select, text
from sqlalchemy.orm import Session

from shared.store.queue import Lease
from shared.store.tables import Job
from shared.store.types import Id

METADATA = MetaData()
WRITES = Table(
    "fault_writes", METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True), Column("job_id", Id), Column("step", String),
    Column("lease_token", Integer), Column("row_token", Integer), Column("row_state", String),
)  # fmt: skip
HISTORY = Table(
    "fault_history", METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True), Column("kind", String), Column("row_id", Id),
    Column("old_state", String), Column("new_state", String), Column("old_token", Integer),
    Column("new_token", Integer), Column("at_s", Float(53)),
)  # fmt: skip
WATCHED = {"experiments": False, "jobs": True, "runs": False}

SQLITE_NOW = "(julianday('now') - 2440587.5) * 86400.0"
POSTGRES_NOW = "extract(epoch from clock_timestamp())"


@dataclass(frozen=True)
class Change:
    """A row went from one state or token to another; `at_s` is the database's clock, as `time.time()` counts."""

    kind: str
    row_id: str
    old_state: str
    new_state: str
    old_token: int | None
    new_token: int | None
    at_s: float


@dataclass(frozen=True)
class Write:
    """A worker's committed transaction: the token it held, and what the job's row said at that moment."""

    job_id: str
    step: str
    lease_token: int
    row_token: int
    row_state: str


def install(engine: Engine) -> None:
    """Make the tables and the triggers that fill them."""
    METADATA.create_all(engine)
    statements = _sqlite_triggers() if engine.dialect.name == "sqlite" else _postgres_triggers()
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _insert(table: str, tokens: str, clock: str) -> str:
    return (
        "INSERT INTO fault_history (kind, row_id, old_state, new_state, old_token, new_token, at_s) "
        f"VALUES ('{table}', NEW.id, OLD.state, NEW.state, {tokens}, {clock})"
    )


def _parts_of(table: str, different: str) -> tuple[str, str]:
    """When to write, and which tokens."""
    changed = f"OLD.state {different} NEW.state"
    if not WATCHED[table]:
        return changed, "NULL, NULL"
    return f"{changed} OR OLD.token {different} NEW.token", "OLD.token, NEW.token"


def _sqlite_triggers() -> list[str]:
    statements = []
    for table in WATCHED:
        when, tokens = _parts_of(table, "<>")
        statements.append(
            f"CREATE TRIGGER fault_{table} AFTER UPDATE ON {table} WHEN {when} "
            f"BEGIN {_insert(table, tokens, SQLITE_NOW)}; END"
        )
    return statements


def _postgres_triggers() -> list[str]:
    statements = []
    for table in WATCHED:
        when, tokens = _parts_of(table, "IS DISTINCT FROM")
        statements.append(
            f"CREATE FUNCTION fault_{table}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {_insert(table, tokens, POSTGRES_NOW)}; RETURN NULL; END $$"
        )
        statements.append(
            f"CREATE TRIGGER fault_{table} AFTER UPDATE ON {table} FOR EACH ROW WHEN ({when}) "
            f"EXECUTE FUNCTION fault_{table}()"
        )
    return statements


def note_write(session: Session, lease: Lease, step: str) -> None:
    """Record, in the worker's own transaction, under which token it writes."""
    facts = select(Job.id, literal(step), literal(lease.token), Job.token, Job.state).where(Job.id == lease.job_id)
    names = ["job_id", "step", "lease_token", "row_token", "row_state"]
    session.connection().execute(insert(WRITES).from_select(names, facts))


def changes(session: Session, *, after: int = 0) -> list[Change]:
    """What changed since the given point, in order."""
    columns = [HISTORY.c[name] for name in Change.__dataclass_fields__]
    rows = session.execute(select(*columns).where(HISTORY.c.seq > after).order_by(HISTORY.c.seq))
    return [Change(*row) for row in rows]


def writes(session: Session, *, after: int = 0) -> list[Write]:
    """What workers committed since the given point, in order."""
    columns = [WRITES.c[name] for name in Write.__dataclass_fields__]
    rows = session.execute(select(*columns).where(WRITES.c.seq > after).order_by(WRITES.c.seq))
    return [Write(*row) for row in rows]


def last(session: Session, table: Table) -> int:
    """The point until which there are records now."""
    return session.scalar(select(func.max(table.c.seq))) or 0
