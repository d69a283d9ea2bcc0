"""What happens to experiments, written down with the change that it tells of, and forgotten a day after the end.

Whoever changes something notes it; `Database.write()` writes what was noted as the last thing before the commit.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, delete, func, insert, select
from sqlalchemy.orm import Session

from shared.store.states import FINISHED_EXPERIMENT
from shared.store.tables import Event, Experiment

NOTED = "actrobust_events"
# Who has not listened to the end by then hears of the end alone.
KEPT_FOR = timedelta(days=1)
ROWS_PER_DELETE = 5_000


def experiment_changed(session: Session, experiment: Experiment) -> None:
    """Tell of the experiment's present state, and of its error."""
    _note(session, experiment.id, state=str(experiment.state), error=experiment.error)


def jobs_changed(
    session: Session, experiment_id: str, job_ids: Iterable[str], state: str, *, error: str | None = None
) -> None:
    """Tell of the new state of some jobs.

    Nobody tells of `dispatched`: the job waits as before, and while the broker is away it goes there and back for days.
    """
    for job_id in job_ids:
        _note(session, experiment_id, job_id=job_id, state=str(state), error=error)


def epoch_committed(session: Session, experiment_id: str, job_id: str, epoch: int) -> None:
    """Tell of the metrics that the runs of a job got with an epoch: one row, however many runs."""
    _note(session, experiment_id, job_id=job_id, epoch=epoch)


def _note(session: Session, experiment_id: str, **values: Any) -> None:
    row = {"job_id": None, "epoch": None, "state": None, "error": None, "created_at": datetime.now(UTC)}
    session.info.setdefault(NOTED, []).append({"experiment_id": experiment_id, **row, **values})


def write_noted(session: Session) -> None:
    """Write what was noted in this transaction; nothing may follow but the commit.

    PostgreSQL gives out an id before its row can be seen: who has read up to 10 would never see a 9 that is committed
    later. So the transactions that tell of one experiment take turns from their first id to their commit. The turn is
    the last lock that a transaction takes, so that nobody who has it waits for anybody. SQLite's writers take turns
    anyway.
    """
    noted = session.info.pop(NOTED, [])
    if not noted:
        return
    session.flush()
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        for key in sorted({_lock_key(row["experiment_id"]) for row in noted}):
            connection.execute(select(func.pg_advisory_xact_lock(key)))
    # One statement for any number of rows, on the connection: it is compiled once in the life of a process.
    connection.execute(insert(Event).inline(), noted)


def _lock_key(experiment_id: str) -> int:
    """A number that hardly any other experiment has: the random half of its id."""
    return int.from_bytes(UUID(experiment_id).bytes[8:], signed=True)


def delete_some(session: Session, experiment_id: str) -> int:
    """Remove a piece of an experiment's events, the oldest first; how many there were."""
    oldest = select(Event.id).where(Event.experiment_id == experiment_id).order_by(Event.id).limit(ROWS_PER_DELETE)
    removed = session.connection().execute(delete(Event).where(Event.id.in_(oldest)))
    return cast(CursorResult[Any], removed).rowcount


def forget_some(session: Session) -> bool:
    """Remove a piece of the events of an experiment that ended long ago; False when there are none."""
    cutoff = datetime.now(UTC) - KEPT_FOR
    has_ended = Experiment.state.in_(FINISHED_EXPERIMENT) & (Experiment.finished_at < cutoff)
    found = (
        select(Experiment.id)
        .join(Event, Event.experiment_id == Experiment.id)
        .where(Event.job_id.is_(None), Event.created_at < cutoff, has_ended)
        .order_by(Event.created_at)
        .limit(1)
        # Nobody resumes it meanwhile, whose events would be new ones.
        .with_for_update(of=Experiment, skip_locked=True)
    )
    experiment_id = session.scalar(found)
    return experiment_id is not None and delete_some(session, experiment_id) > 0
