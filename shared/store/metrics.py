"""Reading per-epoch metrics: by page, or run by run for downloads and statistics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Float, func, literal, select, tuple_
from sqlalchemy.orm import Session

from shared.store.db import BINARY_RESULTS
from shared.store.tables import EpochMetrics, Run

COLUMNS = (
    Run.id.label("run_id"), Run.activation, Run.rate, Run.seed, EpochMetrics.epoch,
    EpochMetrics.train_loss, EpochMetrics.val_loss, EpochMetrics.train_accuracy, EpochMetrics.val_accuracy,
    EpochMetrics.val_loss_a, EpochMetrics.val_accuracy_a, EpochMetrics.memorization, EpochMetrics.recovery,
    EpochMetrics.nonfinite,
)  # fmt: skip
NAMES = tuple(column.key for column in COLUMNS)
ROWS_PER_CHUNK = 20_000


@dataclass(frozen=True)
class MetricsFilter:
    """Which rows are wanted; empty fields let everything through. `activations` are labels."""

    activations: Sequence[str] = ()
    rates: Sequence[float] = ()
    seeds: Sequence[int] = ()
    epoch_from: int | None = None
    epoch_to: int | None = None


def _conditions(experiment_id: str, wanted: MetricsFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [Run.experiment_id == experiment_id]
    choices = ((Run.activation, wanted.activations), (Run.rate, wanted.rates), (Run.seed, wanted.seeds))
    conditions += [column.in_(values) for column, values in choices if values]
    if wanted.epoch_from is not None:
        conditions.append(EpochMetrics.epoch >= wanted.epoch_from)
    if wanted.epoch_to is not None:
        conditions.append(EpochMetrics.epoch <= wanted.epoch_to)
    return conditions


def metrics_page(
    session: Session, experiment_id: str, wanted: MetricsFilter, *, limit: int, after: tuple[int, int] | None = None
) -> list[tuple[dict[str, Any], tuple[int, int]]]:
    """A page of rows by run and epoch, each with the position to go on `after`."""
    key = tuple_(Run.position, EpochMetrics.epoch)
    query = (
        select(*COLUMNS, Run.position)
        .join(EpochMetrics, EpochMetrics.run_id == Run.id)
        .where(*_conditions(experiment_id, wanted))
        .order_by(Run.position, EpochMetrics.epoch)
        .limit(limit)
    )
    if after is not None:
        # The first says it again: by a pair of two tables PostgreSQL only chooses among rows that it has read.
        query = query.where(Run.position >= after[0], key > after)
    items = [dict(row._mapping) for row in session.execute(query)]
    return [(item, (item.pop("position"), item["epoch"])) for item in items]


def metrics_chunks(session: Session, experiment_id: str, wanted: MetricsFilter) -> Iterator[list[tuple[Any, ...]]]:
    """All rows by run and epoch, as tuples in the order of NAMES, in chunks that fit into memory."""
    query = (
        select(*COLUMNS)
        .join(EpochMetrics, EpochMetrics.run_id == Run.id)
        .where(*_conditions(experiment_id, wanted))
        .order_by(Run.position, EpochMetrics.epoch)
        .execution_options(yield_per=ROWS_PER_CHUNK)
    )
    for chunk in session.execute(query).partitions():
        yield [tuple(row) for row in chunk]


def number_chunks(
    session: Session, experiment_id: str, names: Sequence[str], wanted: MetricsFilter
) -> Iterator[NDArray[np.float64]]:
    """All rows as numbers, in no order: the run's position, the epoch, then the columns of these names, NaN for NULL.

    Rows go from the driver into arrays with no object of SQLAlchemy's between: a million in a second.
    """
    # An array takes no None. No database stores a number that is not finite here, so that infinity can stand for it.
    null = literal(float("inf"), Float)
    columns = [func.coalesce(getattr(EpochMetrics, name), null) for name in names]
    query = (
        select(Run.position, EpochMetrics.epoch, *columns)
        .join(EpochMetrics, EpochMetrics.run_id == Run.id)
        .where(*_conditions(experiment_id, wanted))
    )
    cursor = session.connection().execute(query, execution_options={BINARY_RESULTS: True}).cursor
    while rows := cursor.fetchmany(ROWS_PER_CHUNK):
        flat = np.fromiter(chain.from_iterable(rows), np.float64, count=len(rows) * (2 + len(names)))
        flat[np.isinf(flat)] = np.nan
        yield flat.reshape(len(rows), -1)
    cursor.close()
