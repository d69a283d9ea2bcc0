"""A database and its model side by side: what is done to one is done to the other, and both are compared."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import delete
from sqlalchemy.orm import Session

from shared.errors import ActrobustError
from shared.store.db import Database
from shared.store.tables import Base
from tests.shared.store.clock import StillClock
from tests.shared.store.model import Model
from tests.shared.store.promises import check, look

T = TypeVar("T")
MAX_LOSSES = 3
# One transaction, and what it does to the model.
Write = tuple[Callable[[Session], object], Callable[[], object]]


class Compared:
    """A database that starts empty, and its model."""

    def __init__(self, database: Database, clock: StillClock) -> None:
        self.database, self.clock, self.model = database, clock, Model()
        with database.write() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
        self.rows = look(database)
        self.num_writes = 0
        self.set_clock(0)

    def set_clock(self, now_s: int) -> None:
        self.clock.set(now_s)
        self.model.now_s = now_s

    def write(self, action: Callable[[Session], T]) -> T:
        with self.database.write() as session:
            return action(session)

    def both(self, write: Write, *, resumed: str | None = None) -> Any:
        """Do the same to the database and to the model; both must answer alike.

        Returns: what both answered.
        Raises: ActrobustError: both refused, and no row has changed.
        """
        self.num_writes += 1
        real, modelled = write
        expected, found = _outcome(modelled), _outcome(partial(self.write, real))
        before = self.rows
        self.compare(resumed=resumed)
        if isinstance(found, ActrobustError):
            assert type(found) is type(expected)
            assert self.rows == before, "what was refused has left a trace"
            raise found
        assert found == expected
        return found

    def compare(self, *, resumed: str | None = None) -> None:
        """All rows with the model, and with what is promised of any rows."""
        before, self.rows = self.rows, look(self.database)
        check(before, self.rows, resumed=resumed, max_losses=MAX_LOSSES)
        assert self._stored() == self.model.rows()

    def _stored(self) -> tuple[dict[Any, Any], ...]:
        at, rows = self.clock.seconds, self.rows
        return (
            {row.id: (row.state, row.deleted_at is not None) for row in rows.experiments.values()},
            {
                row.id: (
                    row.state, row.token, row.losses, row.worker_id, at(row.claimed_at), at(row.heartbeat_at),
                    at(row.dispatched_at), row.error is not None, row.checkpoints,
                )
                for row in rows.jobs.values()
            },
            {row.id: (row.state, row.outcome, row.epoch) for row in rows.runs.values()},
            {(row.run_id, row.epoch): row.val_loss for row in rows.metrics},
        )  # fmt: skip


def _outcome(action: Callable[[], object]) -> object:
    try:
        return action()
    except ActrobustError as error:
        return error
