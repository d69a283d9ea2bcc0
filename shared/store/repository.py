"""Experiments and their runs: all SQL that the API needs but for the metrics. Callers hold the transaction."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, case, cast, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.errors import ConflictError, NotFoundError
from shared.plan import Plan
from shared.spec import ExperimentSpec
from shared.store.rows import changed_rows
from shared.store.states import (
    FINISHED_EXPERIMENT,
    FINISHED_JOB,
    RESUMABLE_EXPERIMENT,
    WAITING_JOB,
    ExperimentState,
    JobState,
    RunState,
)
from shared.store.tables import EpochMetrics, Experiment, IdempotencyKey, Job, Run
from shared.store.types import new_id, now

METRICS_PER_PURGE = 5_000
# PostgreSQL's code for a lock that could not be had within lock_timeout.
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True)
class Progress:
    """How far an experiment is; an epoch of a run that diverged counts as done, since none will follow."""

    runs_total: int = 0
    runs_finished: int = 0
    runs_failed: int = 0
    epochs_total: int = 0
    epochs_done: int = 0


@dataclass(frozen=True)
class ExperimentFilter:
    """Which experiments a listing holds; empty fields let everything through."""

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


def create_experiment(session: Session, spec: ExperimentSpec, plan: Plan, provenance: dict[str, Any]) -> Experiment:
    """Write an experiment with all its jobs and runs."""
    experiment = Experiment(
        id=new_id(), name=spec.name, dataset=spec.dataset.kind, state=ExperimentState.QUEUED,
        spec=spec.model_dump(mode="json"), provenance=provenance, num_epochs=plan.num_epochs,
        created_at=datetime.now(UTC), epochs_before=0,
    )  # fmt: skip
    session.add(experiment)
    session.flush()
    kinds = {activation.name: activation.kind for activation in spec.activations}
    device = "cuda" if spec.training.device == "cuda" else "any"
    jobs, runs = [], []
    for planned in plan.jobs:
        job = Job(
            id=new_id(), experiment_id=experiment.id, activation=planned.activation, device=device,
            activation_kind=kinds[planned.activation], state=JobState.PENDING, token=0, losses=0, checkpoints=[],
        )  # fmt: skip
        jobs.append(job)
        runs += [
            Run(
                id=new_id(), experiment_id=experiment.id, job_id=job.id, position=run.position, epoch=0,
                activation=run.activation, rate=run.rate, seed=run.seed, state=RunState.PENDING,
            )
            for run in planned.runs
        ]  # fmt: skip
    session.add_all(jobs)
    session.flush()
    session.add_all(runs)
    session.flush()
    return experiment


def get_experiment(session: Session, experiment_id: str, *, lock: bool = False) -> Experiment:
    """One experiment.

    Args:
        lock: keep it from changing until the transaction ends. Whoever changes both takes it before its jobs.
    Raises: NotFoundError: it does not exist, or was deleted.
    """
    query = select(Experiment).where(Experiment.id == experiment_id, Experiment.deleted_at.is_(None))
    experiment = session.scalar(query.with_for_update() if lock else query)
    if experiment is None:
        raise NotFoundError(f"there is no experiment {experiment_id}")
    return experiment


def list_experiments(
    session: Session,
    wanted: ExperimentFilter,
    *,
    limit: int,
    newest_first: bool = True,
    after: tuple[datetime, str] | None = None,
) -> list[Experiment]:
    """A page of experiments by time of creation; `after` is the (created_at, id) of the page before's last one."""
    key = tuple_(Experiment.created_at, Experiment.id)
    query = select(Experiment).where(Experiment.deleted_at.is_(None), *_conditions(wanted))
    if after is not None:
        position = tuple_(*after, types=[Experiment.created_at.type, Experiment.id.type])
        query = query.where(key < position if newest_first else key > position)
    order = [column.desc() if newest_first else column for column in (Experiment.created_at, Experiment.id)]
    return list(session.scalars(query.order_by(*order).limit(limit)))


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
            total * num_epochs[experiment_id],
            finished * num_epochs[experiment_id] + partial,
        )
        for experiment_id, total, finished, num_failed, partial in session.execute(query)
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


def all_runs(session: Session, experiment_id: str) -> list[Run]:
    """Every run of an experiment, in the order of the plan."""
    return list(session.scalars(select(Run).where(Run.experiment_id == experiment_id).order_by(Run.position)))


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


def start_cancelling(session: Session, experiment_id: str) -> Experiment:
    """Cancel what waits, and flag what runs; `finish_if_done` ends the experiment.

    Raises: NotFoundError; ConflictError: it has finished.
    """
    experiment = get_experiment(session, experiment_id, lock=True)
    if experiment.state in {ExperimentState.CANCELLED, ExperimentState.CANCELLING}:
        return experiment
    if experiment.state in FINISHED_EXPERIMENT:
        raise ConflictError(f"the experiment has {experiment.state} already; there is nothing to cancel")
    experiment.state = ExperimentState.CANCELLING
    waiting = select(Job.id).where(Job.experiment_id == experiment_id, Job.state.in_(WAITING_JOB))
    jobs = list(session.scalars(waiting.with_for_update()))
    session.execute(
        update(Job).where(Job.id.in_(jobs)).values(state=JobState.CANCELLED, finished_at=now()),
        execution_options={"synchronize_session": False},
    )
    end_runs(session, jobs, RunState.CANCELLED)
    session.execute(
        update(Job)
        .where(Job.experiment_id == experiment_id, Job.state == JobState.RUNNING)
        .values(state=JobState.CANCELLING),
        execution_options={"synchronize_session": False},
    )
    return experiment


def end_runs(session: Session, job_ids: Sequence[str], state: RunState) -> None:
    """Move the unfinished runs of some jobs to their end; those that diverged have ended already."""
    session.execute(
        update(Run)
        .where(Run.job_id.in_(job_ids), Run.state.in_((RunState.PENDING, RunState.RUNNING)))
        .values(state=state),
        execution_options={"synchronize_session": False},
    )


def finish_if_done(session: Session, experiment_id: str) -> None:
    """Give the experiment its terminal state once all of its jobs have one."""
    experiment = session.scalar(select(Experiment).where(Experiment.id == experiment_id).with_for_update())
    if experiment is None or experiment.state in FINISHED_EXPERIMENT:
        return
    query = select(Job.state, func.count()).where(Job.experiment_id == experiment_id).group_by(Job.state)
    counts = dict(session.execute(query).all())
    if any(state not in FINISHED_JOB for state in counts):
        return
    if counts.get(JobState.CANCELLED):
        experiment.state = ExperimentState.CANCELLED
    elif counts.get(JobState.FAILED):
        experiment.state = ExperimentState.FAILED
        first = select(Job.activation, Job.error).where(
            Job.experiment_id == experiment_id, Job.state == JobState.FAILED
        )
        activation, reason = session.execute(first.order_by(Job.id).limit(1)).one()
        experiment.error = f"{counts[JobState.FAILED]} of {sum(counts.values())} jobs failed; {activation}: {reason}"
    else:
        experiment.state = ExperimentState.SUCCEEDED
    experiment.finished_at = datetime.now(UTC)


def resume_experiment(session: Session, experiment_id: str) -> Experiment:
    """Queue the unfinished jobs of a failed or cancelled experiment again.

    Raises: NotFoundError; ConflictError: nothing is left to do, or it is still on its way.
    """
    experiment = get_experiment(session, experiment_id, lock=True)
    if experiment.state not in RESUMABLE_EXPERIMENT:
        raise ConflictError(f"the experiment is {experiment.state}; only a failed or cancelled one can be resumed")
    unfinished = select(Job.id).where(Job.experiment_id == experiment_id, Job.state != JobState.SUCCEEDED)
    jobs = list(session.scalars(unfinished))
    values = {"state": JobState.PENDING, "losses": 0, "error": None, "finished_at": None, "dispatched_at": None}
    session.execute(
        update(Job).where(Job.id.in_(jobs)).values(values), execution_options={"synchronize_session": False}
    )
    session.execute(
        update(Run)
        .where(Run.job_id.in_(jobs), Run.state.in_((RunState.FAILED, RunState.CANCELLED)))
        .values(state=RunState.PENDING),
        execution_options={"synchronize_session": False},
    )
    experiment.state = ExperimentState.QUEUED
    experiment.error = experiment.finished_at = experiment.running_since = None
    return experiment


def mark_deleted(session: Session, experiment_id: str) -> None:
    """Hide a finished experiment; the reconciler purges it in small pieces.

    Raises: NotFoundError; ConflictError: it has not finished.
    """
    experiment = get_experiment(session, experiment_id, lock=True)
    if experiment.state not in FINISHED_EXPERIMENT:
        raise ConflictError(f"the experiment is {experiment.state}; cancel it before deleting it")
    experiment.deleted_at = datetime.now(UTC)


def purge_some(session: Session, experiment_id: str) -> bool:
    """Remove a piece of a deleted experiment; True once nothing of it is left."""
    chunk = (
        select(EpochMetrics.run_id, EpochMetrics.epoch)
        .join(Run, Run.id == EpochMetrics.run_id)
        .where(Run.experiment_id == experiment_id)
        .order_by(EpochMetrics.run_id, EpochMetrics.epoch)  # a piece holds few runs, whole
        .limit(METRICS_PER_PURGE)
    )
    keys = session.execute(chunk).all()
    if keys:
        run_ids = {run_id for run_id, _ in keys}
        whole = [run_id for run_id in run_ids if run_id != keys[-1][0]] or list(run_ids)
        session.execute(delete(EpochMetrics).where(EpochMetrics.run_id.in_(whole)))
        return False
    session.execute(delete(Run).where(Run.experiment_id == experiment_id))
    session.execute(delete(Job).where(Job.experiment_id == experiment_id))
    session.execute(delete(Experiment).where(Experiment.id == experiment_id))
    return True


def find_idempotent(session: Session, key: str) -> IdempotencyKey | None:
    """The first answer given under this key, if any."""
    return session.get(IdempotencyKey, key)


def reserve_idempotency_key(session: Session, key: str, *, body_hash: str) -> IdempotencyKey | None:
    """A new row for this key, which the caller fills with the answer; None when the key was answered before.

    Waits for a transaction that reserved the key and has not ended yet.

    Raises: ConflictError: that one takes too long.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    empty = {"status": 0, "response": "", "experiment_id": new_id(), "created_at": datetime.now(UTC)}
    statement = insert(IdempotencyKey).values(key=key, body_hash=body_hash, **empty)
    try:
        reserved = session.scalar(statement.on_conflict_do_nothing().returning(IdempotencyKey.key))
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise ConflictError("the first request with this key has not been answered yet; try again") from error
        raise
    return None if reserved is None else session.get_one(IdempotencyKey, key)


def forget_idempotency_keys(session: Session, cutoff: datetime) -> int:
    """Remove keys older than `cutoff`; the number removed."""
    return changed_rows(session, delete(IdempotencyKey).where(IdempotencyKey.created_at < cutoff))
