"""Experiments and their runs: all SQL that the API needs but for the metrics. Callers hold the transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.errors import ConflictError, NotFoundError
from shared.plan import Plan
from shared.spec import ExperimentSpec
from shared.store import events
from shared.store.jobs import add_jobs
from shared.store.rows import changed_rows
from shared.store.settled import MARKED, Listed, listed
from shared.store.states import ExperimentState, RunState
from shared.store.tables import EpochMetrics, Experiment, IdempotencyKey, Job, Run
from shared.store.types import new_id

# PostgreSQL's code for a lock that could not be had within lock_timeout.
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True)
class Progress:
    """How far an experiment is; an epoch of a run that diverged counts as done, since none will follow."""

    runs_total: int = 0
    runs_finished: int = 0
    runs_failed: int = 0
    runs_reused: int = 0
    epochs_total: int = 0
    epochs_done: int = 0


@dataclass(frozen=True)
class ExperimentFilter:
    """Which of an owner's experiments a listing holds; empty fields let everything through."""

    owner: str
    states: Sequence[str] = ()
    datasets: Sequence[str] = ()
    activations: Sequence[str] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True)
class RunFilter:
    """Which runs a listing holds; empty fields let everything through. `activations` are labels."""

    activations: Sequence[str] = ()
    rates: Sequence[float] = ()
    seeds: Sequence[int] = ()
    states: Sequence[str] = ()


def create_experiment(
    session: Session, spec: ExperimentSpec, plan: Plan, provenance: dict[str, Any], *, owner: str
) -> Experiment:
    """Write an experiment with all its jobs and runs.

    Where all of it was trained before, nothing is left to do but `finish_if_done`.
    """
    experiment = Experiment(
        id=new_id(), owner=owner, name=spec.name, dataset=spec.dataset.kind, state=ExperimentState.QUEUED,
        spec=spec.model_dump(mode="json"), provenance=provenance, num_epochs=plan.num_epochs,
        created_at=datetime.now(UTC), epochs_before=0, may_grow=spec.until is not None,
    )  # fmt: skip
    session.add(experiment)
    session.flush()
    events.experiment_changed(session, experiment)
    add_jobs(session, experiment, spec, plan.jobs)
    return experiment


def get_experiment(session: Session, experiment_id: str, *, owner: str, lock: bool = False) -> Experiment:
    """One experiment.

    Args:
        owner: whose it has to be; what belongs to another does not exist.
        lock: keep it from changing until the transaction ends. Whoever changes both takes it before its jobs.
    Raises: NotFoundError: it does not exist, or was deleted.
    """
    values = {"experiment_id": experiment_id, "owner": owner}
    experiment = session.scalar(_OF_OWNER.with_for_update() if lock else _OF_OWNER, values)
    if experiment is None:
        raise NotFoundError(f"there is no experiment {experiment_id}")
    return experiment


_OF_OWNER = select(Experiment).where(
    Experiment.id == bindparam("experiment_id"),
    Experiment.owner == bindparam("owner"),
    Experiment.deleted_at.is_(None),
)


def list_experiments(
    session: Session,
    wanted: ExperimentFilter,
    *,
    limit: int,
    newest_first: bool = True,
    after: tuple[datetime, str] | None = None,
) -> list[Listed]:
    """A page of experiments by time of creation; `after` is the (created_at, id) of the page before's last one."""
    key = tuple_(Experiment.created_at, Experiment.id)
    mine = select(*MARKED, Experiment.created_at).where(
        Experiment.owner == wanted.owner, Experiment.deleted_at.is_(None)
    )
    query = mine.where(*_conditions(wanted))
    if after is not None:
        position = tuple_(*after, types=[Experiment.created_at.type, Experiment.id.type])
        query = query.where(key < position if newest_first else key > position)
    order = [column.desc() if newest_first else column for column in (Experiment.created_at, Experiment.id)]
    return listed(session, query.order_by(*order).limit(limit))


def get_experiments(session: Session, experiment_ids: Sequence[str]) -> list[Experiment]:
    """Those of some experiments that exist, in no order; whoever asks has found out whose they are."""
    return list(session.scalars(select(Experiment).where(Experiment.id.in_(experiment_ids))))


def _conditions(wanted: ExperimentFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.states:
        conditions.append(Experiment.state.in_(wanted.states))
    if wanted.datasets:
        conditions.append(Experiment.dataset.in_(wanted.datasets))
    if wanted.activations:
        named = or_(Job.activation.in_(wanted.activations), Job.activation_kind.in_(wanted.activations))
        conditions.append(select(Job.id).where(Job.experiment_id == Experiment.id, named).exists())
    if wanted.created_after:
        conditions.append(Experiment.created_at > wanted.created_after)
    if wanted.created_before:
        conditions.append(Experiment.created_at < wanted.created_before)
    return conditions


def progress_of(session: Session, experiments: Sequence[Experiment]) -> dict[str, Progress]:
    """The progress of several experiments by id."""
    num_epochs = {experiment.id: experiment.num_epochs for experiment in experiments}
    succeeded, failed = Run.state == RunState.SUCCEEDED, Run.state == RunState.FAILED
    query = (
        select(
            Run.experiment_id,
            func.count(),
            func.sum(case((succeeded, 1), else_=0)),
            func.sum(case((failed, 1), else_=0)),
            func.count(Run.reused_from),
            func.sum(case((succeeded, 0), else_=Run.epoch)),
        )
        .where(Run.experiment_id.in_(list(num_epochs)))
        .group_by(Run.experiment_id)
    )
    return {
        experiment_id: Progress(
            total,
            finished,
            num_failed,
            num_reused,
            total * num_epochs[experiment_id],
            finished * num_epochs[experiment_id] + partial,
        )
        for experiment_id, total, finished, num_failed, num_reused, partial in session.execute(query)
    }


def list_runs(
    session: Session, experiment_id: str, wanted: RunFilter | None = None, *, limit: int, after_position: int = -1
) -> list[tuple[Run, EpochMetrics | None]]:
    """A page of runs in the order of the plan, each with the metrics of its latest epoch."""
    wanted = wanted or RunFilter()
    choices = (
        (Run.activation, wanted.activations), (Run.rate, wanted.rates), (Run.seed, wanted.seeds),
        (Run.state, wanted.states),
    )  # fmt: skip
    query = (
        select(Run, EpochMetrics)
        .outerjoin(EpochMetrics, (EpochMetrics.run_id == Run.id) & (EpochMetrics.epoch == Run.epoch))
        .where(Run.experiment_id == experiment_id, Run.position > after_position)
        .where(*(column.in_(values) for column, values in choices if values))
        .order_by(Run.position)
        .limit(limit)
    )
    return [(run, metrics) for run, metrics in session.execute(query)]


def run_facts(session: Session, experiment_id: str) -> Sequence[Row[*tuple[Any, ...]]]:
    """What statistics need to know of every run, in the order of the plan.

    Plain rows: thousands of objects would take longer to make than the statistics do.
    """
    return session.execute(_RUN_FACTS, {"experiment_id": experiment_id}).all()


_RUN_FACTS: Select[*tuple[Any, ...]] = (
    select(
        Run.position, Run.activation, Run.rate, Run.seed, Run.state, Run.outcome, Run.epoch, Run.null_loss,
        Run.null_accuracy,
    )
    .where(Run.experiment_id == bindparam("experiment_id"))
    .order_by(Run.position)
)  # fmt: skip


def distinct_numerics(session: Session, experiments: Sequence[Experiment]) -> dict[str, list[dict[str, Any]]]:
    """By experiment id, what was decided at first claims; jobs that decided alike count once."""
    found: dict[str, list[dict[str, Any]]] = {experiment.id: [] for experiment in experiments}
    # As text, since PostgreSQL cannot compare JSON.
    as_text = cast(Job.numerics, Text)
    query = (
        select(Job.experiment_id, as_text)
        .where(Job.experiment_id.in_(list(found)), Job.numerics.is_not(None))
        .distinct()
        .order_by(Job.experiment_id, as_text)
    )
    for experiment_id, numerics in session.execute(query):
        found[experiment_id].append(json.loads(numerics))
    return found


def num_described_runs(session: Session, experiment_id: str) -> int:
    """How many runs have told what they know before they train, such as their null score."""
    query = select(func.count()).where(Run.experiment_id == experiment_id, Run.mask_hash.is_not(None))
    return session.scalar(query) or 0


def num_claims(session: Session, experiment_id: str) -> int:
    """How often jobs of the experiment were claimed; metrics only ever go back with a new claim."""
    return session.scalar(select(func.sum(Job.token)).where(Job.experiment_id == experiment_id)) or 0


def find_idempotent(session: Session, key: str, *, owner: str) -> IdempotencyKey | None:
    """The first answer given to this owner under this key, if any."""
    return session.get(IdempotencyKey, (owner, key))


def reserve_idempotency_key(session: Session, key: str, *, owner: str, body_hash: str) -> IdempotencyKey | None:
    """A new row for this key, which the caller fills with the answer; None when the key was answered before.

    Waits for a transaction that reserved the key and has not ended yet.

    Raises: ConflictError: that one takes too long.
    """
    upsert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    empty = {"status": 0, "response": "", "experiment_id": new_id(), "created_at": datetime.now(UTC)}
    statement = upsert(IdempotencyKey).values(owner=owner, key=key, body_hash=body_hash, **empty)
    try:
        reserved = session.scalar(statement.on_conflict_do_nothing().returning(IdempotencyKey.key))
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise ConflictError("the first request with this key has not been answered yet; try again") from error
        raise
    return None if reserved is None else session.get_one(IdempotencyKey, (owner, key))


def num_waiting_experiments(session: Session, *, owner: str) -> int:
    """How many of an owner's experiments have not begun yet."""
    # None of them is deleted: only what has finished can be. An index alone answers this, with every POST.
    mine = select(func.count()).where(Experiment.owner == owner, Experiment.state == ExperimentState.QUEUED)
    return session.scalar(mine) or 0


def forget_idempotency_keys(session: Session, cutoff: datetime) -> int:
    """Remove keys older than `cutoff`; the number removed."""
    return changed_rows(session, delete(IdempotencyKey).where(IdempotencyKey.created_at < cutoff))
