"""Runs that were trained before: finding them by their cells, and copying what they measured.

Results are copied, not pointed to, so that the experiment they came from can be deleted.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Select, TableValuedAlias, Text, bindparam, func, insert, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased

from shared.store.states import JobState
from shared.store.tables import EpochMetrics, Experiment, Job, Run

T = TypeVar("T")

# What a run knows of itself beside its metrics.
FACTS = ("outcome", "null_loss", "null_accuracy", "realised_rate", "mask_hash")
# More would keep whoever posts waiting for seconds; the rest is trained.
MOST_ROWS = 50_000
PER_STATEMENT = 1_000


@dataclass(frozen=True)
class Known:
    """A run that may be taken over, and the numerics of the job that trained it."""

    run_id: str
    experiment_id: str
    epoch: int
    facts: dict[str, Any]
    numerics: dict[str, Any]


def find(session: Session, cells: Sequence[str]) -> dict[str, Known]:
    """Of the cells those that were trained, each with its oldest run; whoever deletes one of these waits for us."""
    known: dict[str, Known] = {}
    num_rows = 0
    for some in _pieces(cells):
        for cell, source in _details(session, _oldest(session, some)):
            num_rows += source.epoch
            if num_rows > MOST_ROWS:
                return known
            known[cell] = source
    return known


def num_known(session: Session, cells: Sequence[str]) -> int:
    """How many of the cells were trained."""
    return sum(len(_oldest(session, some)) for some in _pieces(cells))


def _pieces(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while piece := list(islice(rest, PER_STATEMENT)):
        yield piece


def _oldest(session: Session, cells: Sequence[str]) -> list[str]:
    """The ids of runs, one for each cell that has any. Each is one step in an index, however often it was repeated."""
    if session.get_bind().dialect.name == "postgresql":
        found = session.scalars(_OLDEST_ON_POSTGRES, {"cells": cells})
    else:
        found = session.scalars(_OLDEST_ON_SQLITE, {"cells": json.dumps(cells)})
    return [run_id for run_id in found if run_id is not None]


# A run that diverged is over before its job is, but trained again if the job's worker is lost. Jobs are asked one at a
# time: a join might look through all that have succeeded.
_IS_FINAL = select(Job.state).where(Job.id == Run.job_id).correlate(Run).scalar_subquery() == JobState.SUCCEEDED


def _oldest_of(wanted: TableValuedAlias) -> Select[str | None]:
    oldest = (
        select(Run.id)
        .join(Experiment, Experiment.id == Run.experiment_id)
        .where(
            Run.cell == wanted.c.value,
            # As a literal: with a parameter the planner could not know that the index fits.
            Run.state == literal_column("'succeeded'"),
            _IS_FINAL,
            Experiment.deleted_at.is_(None),
        )
        .order_by(Run.id)
        .limit(1)
        .scalar_subquery()
    )
    return select(oldest).select_from(wanted)


# Put together once: every POST asks.
_OLDEST_ON_POSTGRES = _oldest_of(
    func.unnest(bindparam("cells", type_=ARRAY(Text))).table_valued("value", name="wanted").render_derived()
)
_OLDEST_ON_SQLITE = _oldest_of(func.json_each(bindparam("cells", type_=Text)).table_valued("value", name="wanted"))


def _details(session: Session, run_ids: Sequence[str]) -> Iterator[tuple[str, Known]]:
    """Cell and results of each run whose experiment stays until our transaction ends."""
    if not run_ids:
        return
    of_runs = select(Run.experiment_id).where(Run.id.in_(run_ids))
    # Before it is deleted an experiment is locked, for which whoever wants that waits.
    staying = select(Experiment.id).where(Experiment.id.in_(of_runs), Experiment.deleted_at.is_(None))
    experiments = list(session.scalars(staying.order_by(Experiment.id).with_for_update(read=True, key_share=True)))
    facts = [getattr(Run, name) for name in FACTS]
    query = (
        select(Run.cell, Run.id, Run.experiment_id, Run.epoch, Job.numerics, *facts)
        .join(Job, Job.id == Run.job_id)
        .where(Run.id.in_(run_ids), Run.experiment_id.in_(experiments), _IS_FINAL)
        .order_by(Run.id)
    )
    for cell, run_id, experiment_id, epoch, numerics, *values in session.execute(query):
        yield cell, Known(run_id, experiment_id, epoch, dict(zip(FACTS, values, strict=True)), numerics)


def alike(sources: Sequence[Known | None]) -> list[Known | None]:
    """Those of a job's sources that have the commonest numerics: a job has one, and trains the others again by them."""
    names = [source and json.dumps(source.numerics, sort_keys=True) for source in sources]
    counts = Counter(name for name in names if name is not None)
    if not counts:
        return list(sources)
    [(commonest, _)] = counts.most_common(1)
    return [source if name == commonest else None for source, name in zip(sources, names, strict=True)]


def copy_metrics(session: Session, run_ids: Sequence[str]) -> None:
    """Give each run the metrics of the one that it was taken over from."""
    names = [column.key for column in EpochMetrics.__table__.columns if column.key != "run_id"]
    source = aliased(EpochMetrics)
    for some in _pieces(run_ids):
        measured = (
            select(Run.id, *(getattr(source, name) for name in names))
            .join(source, source.run_id == Run.reused_from)
            .where(Run.id.in_(some))
        )
        session.execute(insert(EpochMetrics).from_select(["run_id", *names], measured))
