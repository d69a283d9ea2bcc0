"""Experiments that stand still: those that nobody has begun, and those that have ended.

Nothing about such a one changes until its state does, so that what was once said of it may be said again from memory.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from shared.errors import NotFoundError
from shared.store.states import FINISHED_EXPERIMENT, ExperimentState
from shared.store.tables import Experiment

MARKED = (Experiment.id, Experiment.state, Experiment.started_at, Experiment.finished_at)
# Put together once: it is asked with nearly every request, and takes less time than its making would.
_OF_OWNER = select(*MARKED).where(
    Experiment.id == bindparam("experiment_id"),
    Experiment.owner == bindparam("owner"),
    Experiment.deleted_at.is_(None),
)


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
    found = session.execute(_OF_OWNER, {"experiment_id": experiment_id, "owner": owner}).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no experiment {experiment_id}")
    return _mark(*found)


def mark_on(experiment: Experiment) -> str | None:
    """The same, of one that has been read."""
    return _mark(experiment.id, experiment.state, experiment.started_at, experiment.finished_at)


def is_untouched(experiment: Experiment) -> bool:
    """Whether nothing of it is known yet.

    One that was resumed has runs behind it, and a worker may just be leaving it; another has taken some over.
    """
    is_new = experiment.state == ExperimentState.QUEUED and experiment.started_at is None
    return is_new and experiment.epochs_before == 0


def listed(session: Session, query: Select[*tuple[Any, ...]]) -> list[Listed]:
    """What a query for the columns MARKED and the time of creation finds."""
    return [Listed(row[0], row[4], _mark(*row[:4])) for row in session.execute(query).all()]


def _mark(experiment_id: str, state: str, started_at: datetime | None, finished_at: datetime | None) -> str | None:
    untouched = state == ExperimentState.QUEUED and started_at is None
    if not untouched and state not in FINISHED_EXPERIMENT:
        return None
    return f"{experiment_id} {state} {finished_at}"
