"""Experiments that stand still: those that nobody has begun, and those that have ended.

Nothing about such a one changes until its state does, so that what was once said of it may be said again from memory.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from shared.errors import NotFoundError
from shared.store.states import FINISHED_EXPERIMENT, ExperimentState
from shared.store.tables import Experiment

MARKED = (Experiment.id, Experiment.state, Experiment.started_at, Experiment.finished_at)


@dataclass(frozen=True)
class Listed:
    """An experiment as a listing finds it; `mark` names its state as long as it stands still, None while it moves."""

    id: str
    created_at: datetime
    mark: str | None


def mark_of(session: Session, experiment_id: str, *, owner: str) -> str | None:
    """A name for everything there is to know about an experiment that stands still; None while it moves.

    Raises: NotFoundError: it does not exist, belongs to another owner, or was deleted.
    """
    query = select(*MARKED).where(
        Experiment.id == experiment_id, Experiment.owner == owner, Experiment.deleted_at.is_(None)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no experiment {experiment_id}")
    return _mark(*found)


def listed(session: Session, query: Select[*tuple[Any, ...]]) -> list[Listed]:
    """What a query for the columns MARKED and the time of creation finds."""
    return [Listed(row[0], row[4], _mark(*row[:4])) for row in session.execute(query).all()]


def _mark(experiment_id: str, state: str, started_at: datetime | None, finished_at: datetime | None) -> str | None:
    # One that was resumed is queued again, but has runs behind it, and a worker may still be leaving it.
    is_untouched = state == ExperimentState.QUEUED and started_at is None
    if not is_untouched and state not in FINISHED_EXPERIMENT:
        return None
    return f"{experiment_id} {state} {finished_at}"
