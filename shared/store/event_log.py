"""Reading what happened to an experiment, piece by piece, from any position on."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, and_, or_, select
from sqlalchemy.orm import Session

from shared.errors import NotFoundError
from shared.store.states import FINISHED_EXPERIMENT
from shared.store.tables import EpochMetrics, Event, Experiment, Job, Run

ROWS_PER_PIECE = 200
RUNS_PER_PIECE = 2_000
NUMBERS = (
    Run.id.label("run_id"), Run.activation, Run.rate, Run.seed, EpochMetrics.epoch,
    EpochMetrics.train_loss, EpochMetrics.val_loss, EpochMetrics.train_accuracy, EpochMetrics.val_accuracy,
    EpochMetrics.nonfinite,
)  # fmt: skip
NAMES = tuple(column.key for column in NUMBERS)


class EventKind(StrEnum):
    """What an event tells of."""

    EXPERIMENT = "experiment.state"
    JOB = "job.state"
    EPOCH = "run.epoch"
    DONE = "done"


class Position(NamedTuple):
    """A place among an experiment's events: the row, and within an epoch's row the position of the run in the plan."""

    row: int
    part: int


STATE_PART, DONE_PART, WHOLE_ROW = 0, 1, 2**31 - 1
BEGINNING = Position(0, -1)


@dataclass(frozen=True)
class Told:
    """One event; `data` holds what JSON can."""

    at: Position
    kind: EventKind
    data: dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """What happened from `start` to `end`. Where `more` lies behind, it is read from `end` on."""

    start: Position
    end: Position
    told: Sequence[Told]
    more: bool = False

    @property
    def is_done(self) -> bool:
        """Whether the experiment has ended and nothing more is told of it, unless it is resumed."""
        return bool(self.told) and self.told[-1].kind is EventKind.DONE


def read_piece(session: Session, experiment_id: str, after: Position) -> Piece:
    """Some of the events that follow a position; the end of an experiment is told again to who knows it already.

    A position that lies behind everything is none of ours: a backup was restored, say. It counts as the beginning.

    Raises: NotFoundError: the experiment was purged.
    """
    rows = session.execute(_rows(experiment_id, after)).all()
    if rows:
        return _piece(session, experiment_id, after, rows)
    if after > BEGINNING:
        rows = session.execute(_rows(experiment_id, BEGINNING)).all()
    return _piece(session, experiment_id, BEGINNING, rows) if rows else _without_rows(session, experiment_id, after)


def _rows(experiment_id: str, after: Position) -> Select[*tuple[Any, ...]]:
    """The position's own row, which may not have been told to its end, and those behind it."""
    return (
        select(Event.id, Event.job_id, Event.epoch, Event.state, Event.error, Job.activation)
        .outerjoin(Job, Job.id == Event.job_id)
        .where(Event.experiment_id == experiment_id, Event.id >= after.row)
        .order_by(Event.id)
        .limit(1 + ROWS_PER_PIECE + 1)
    )


def _without_rows(session: Session, experiment_id: str, after: Position) -> Piece:
    """Of an experiment whose events are forgotten, or that is older than they: its state, and perhaps its end."""
    found = session.execute(select(Experiment.state, Experiment.error).where(Experiment.id == experiment_id)).first()
    if found is None:
        raise NotFoundError(f"there is no experiment {experiment_id}")
    state, error = found
    is_over = state in FINISHED_EXPERIMENT
    told = _state(0, state, error) if is_over or after.row > 0 or after == BEGINNING else []
    return Piece(after, Position(0, WHOLE_ROW), [*told, *_done(0, state)] if is_over else told)


def _piece(session: Session, experiment_id: str, after: Position, rows: Sequence[Row[Any]]) -> Piece:
    # The first one may be known already.
    shown, more = rows[: 1 + ROWS_PER_PIECE], len(rows) > 1 + ROWS_PER_PIECE
    new = [row for row in shown if row.id > after.row or after.part < WHOLE_ROW]
    epochs, end = _epochs(session, experiment_id, after, [row.id for row in new if row.epoch is not None])
    states = (each for row in new for each in _of_row(row) if each.at > after)
    told = sorted([*states, *epochs], key=lambda each: each.at)
    if end is not None:
        return Piece(after, end, [each for each in told if each.at <= end], more=True)
    last = shown[-1]
    if not more and last.job_id is None:
        told += _done(last.id, last.state)
    return Piece(after, Position(last.id, WHOLE_ROW), told, more)


def _of_row(row: Row[Any]) -> list[Told]:
    """What a row says by itself."""
    if row.epoch is not None:
        return []
    if row.job_id is None:
        return _state(row.id, row.state, row.error)
    data = {"job_id": row.job_id, "activation": row.activation, "state": row.state, "error": row.error}
    return [Told(Position(row.id, STATE_PART), EventKind.JOB, data)]


def _state(row: int, state: str, error: str | None) -> list[Told]:
    return [Told(Position(row, STATE_PART), EventKind.EXPERIMENT, {"state": state, "error": error})]


def _done(row: int, state: str) -> list[Told]:
    over = state in FINISHED_EXPERIMENT
    return [Told(Position(row, DONE_PART), EventKind.DONE, {"state": state})] if over else []


def _epochs(
    session: Session, experiment_id: str, after: Position, row_ids: Sequence[int]
) -> tuple[list[Told], Position | None]:
    """What the runs measured in these rows, and where that breaks off if it is too much.

    Metrics that were rewound since are not there; their epoch is told again once it was trained again.
    """
    if not row_ids:
        return [], None
    query = (
        select(Event.id, Run.position, *NUMBERS)
        .join(Run, Run.job_id == Event.job_id)
        .join(EpochMetrics, and_(EpochMetrics.run_id == Run.id, EpochMetrics.epoch == Event.epoch))
        .where(Event.experiment_id == experiment_id, Event.id.between(row_ids[0], row_ids[-1]))
        .where(or_(Event.id > after.row, Run.position > after.part))
        # What was taken over happened elsewhere.
        .where(Run.reused_from.is_(None))
        .order_by(Event.id, Run.position)
        .limit(RUNS_PER_PIECE + 1)
    )
    found = session.execute(query).all()
    shown = found[:RUNS_PER_PIECE]
    told = [Told(Position(row, part), EventKind.EPOCH, dict(zip(NAMES, values, strict=True)))
            for row, part, *values in shown]  # fmt: skip
    return told, told[-1].at if len(found) > len(shown) else None
