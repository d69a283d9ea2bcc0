"""What is counted since the database was made. A row is written last in its transaction: everybody waits for it."""

from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.store.tables import Counter


class CounterName(StrEnum):
    """All counters that there are."""

    EPOCHS_TRAINED = "epochs_trained"
    LEASE_LOSSES = "lease_losses"


def add(session: Session, name: CounterName, amount: int) -> None:
    """Count some more; the first time makes the row."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(Counter).values(name=name, value=amount)
    added = {"value": Counter.value + statement.excluded.value}
    session.execute(statement.on_conflict_do_update(index_elements=[Counter.name], set_=added))


def read(session: Session) -> dict[str, int]:
    """All counters; what was never counted is 0."""
    return {**dict.fromkeys(CounterName, 0), **dict(session.execute(select(Counter.name, Counter.value)).all())}
