"""How an experiment ends, goes on and goes away: every change of its state but its start. Callers hold the transaction.

Whoever changes an experiment and its jobs locks the experiment first.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from shared.errors import ConflictError
from shared.store import events
from shared.store.repository import get_experiment
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
from shared.store.tables import EpochMetrics, Experiment, Job, Run
from shared.store.types import now

METRICS_PER_PURGE = 5_000


def start_cancelling(session: Session, experiment_id: str, *, owner: str) -> Experiment:
    """Cancel what waits, and flag what runs; `finish_if_done` ends the experiment.

    Raises: NotFoundError; ConflictError: it has finished.
    """
    experiment = get_experiment(session, experiment_id, owner=owner, lock=True)
    if experiment.state in {ExperimentState.CANCELLED, ExperimentState.CANCELLING}:
        return experiment
    if experiment.state in FINISHED_EXPERIMENT:
        raise ConflictError(f"the experiment has {experiment.state} already; there is nothing to cancel")
    experiment.state = ExperimentState.CANCELLING
    waiting = select(Job.id).where(Job.experiment_id == experiment_id, Job.state.in_(WAITING_JOB))
    jobs = list(session.scalars(waiting.with_for_update()))
    cancelled = {"state": JobState.CANCELLED, "finished_at": now()}
    changed_rows(session, update(Job).where(Job.id.in_(jobs)).values(cancelled))
    end_runs(session, jobs, RunState.CANCELLED)
    running = update(Job).where(Job.experiment_id == experiment_id, Job.state == JobState.RUNNING)
    flagged = session.scalars(
        running.values(state=JobState.CANCELLING).returning(Job.id), execution_options={"synchronize_session": False}
    )
    events.experiment_changed(session, experiment)
    events.jobs_changed(session, experiment_id, jobs, JobState.CANCELLED)
    events.jobs_changed(session, experiment_id, flagged, JobState.CANCELLING)
    return experiment


def end_runs(session: Session, job_ids: Sequence[str], state: RunState) -> None:
    """Move the unfinished runs of some jobs to their end; those that diverged have ended already."""
    unfinished = update(Run).where(Run.job_id.in_(job_ids), Run.state.in_((RunState.PENDING, RunState.RUNNING)))
    changed_rows(session, unfinished.values(state=state))


def finish_if_done(session: Session, experiment_id: str) -> None:
    """Give the experiment its terminal state once all of its jobs have one.

    One that may grow does not succeed before it is decided that its seeds suffice: `growth.py`.
    """
    experiment = session.scalar(select(Experiment).where(Experiment.id == experiment_id).with_for_update())
    if experiment is None or experiment.state in FINISHED_EXPERIMENT:
        return
    query = select(Job.state, func.count()).where(Job.experiment_id == experiment_id).group_by(Job.state)
    counts = dict(session.execute(query).all())
    if any(state not in FINISHED_JOB for state in counts):
        return
    if counts.get(JobState.CANCELLED) or (experiment.may_grow and experiment.state == ExperimentState.CANCELLING):
        experiment.state = ExperimentState.CANCELLED
    elif counts.get(JobState.FAILED):
        experiment.state = ExperimentState.FAILED
        first = select(Job.activation, Job.error).where(
            Job.experiment_id == experiment_id, Job.state == JobState.FAILED
        )
        activation, reason = session.execute(first.order_by(Job.id).limit(1)).one()
        experiment.error = f"{counts[JobState.FAILED]} of {sum(counts.values())} jobs failed; {activation}: {reason}"
    elif experiment.may_grow:
        return
    else:
        experiment.state = ExperimentState.SUCCEEDED
    experiment.finished_at = datetime.now(UTC)
    if experiment.state == ExperimentState.SUCCEEDED:
        # Nobody has begun one that was taken over as a whole.
        experiment.started_at = experiment.started_at or experiment.finished_at
    events.experiment_changed(session, experiment)


def finish_if_untrained(session: Session, experiment: Experiment) -> None:
    """End a new experiment at once if all of it was taken over."""
    if experiment.epochs_before:
        session.flush()
        finish_if_done(session, experiment.id)


def resume_experiment(session: Session, experiment_id: str, *, owner: str) -> Experiment:
    """Queue the unfinished jobs of a failed or cancelled experiment again.

    Raises: NotFoundError; ConflictError: nothing is left to do, or it is still on its way.
    """
    experiment = get_experiment(session, experiment_id, owner=owner, lock=True)
    if experiment.state not in RESUMABLE_EXPERIMENT:
        raise ConflictError(f"the experiment is {experiment.state}; only a failed or cancelled one can be resumed")
    unfinished = select(Job.id).where(Job.experiment_id == experiment_id, Job.state != JobState.SUCCEEDED)
    jobs = list(session.scalars(unfinished))
    values = {"state": JobState.PENDING, "losses": 0, "error": None}
    times = {"claimed_at": None, "dispatched_at": None, "finished_at": None}
    changed_rows(session, update(Job).where(Job.id.in_(jobs)).values(values | times))
    ended = update(Run).where(Run.job_id.in_(jobs), Run.state.in_((RunState.FAILED, RunState.CANCELLED)))
    changed_rows(session, ended.values(state=RunState.PENDING))
    experiment.state = ExperimentState.QUEUED
    experiment.error = experiment.finished_at = experiment.running_since = None
    events.experiment_changed(session, experiment)
    events.jobs_changed(session, experiment_id, jobs, JobState.PENDING)
    return experiment


def mark_deleted(session: Session, experiment_id: str, *, owner: str) -> None:
    """Hide a finished experiment; the reconciler purges it in small pieces.

    Raises: NotFoundError; ConflictError: it has not finished.
    """
    experiment = get_experiment(session, experiment_id, owner=owner, lock=True)
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
    if events.delete_some(session, experiment_id) == events.ROWS_PER_DELETE:
        return False
    session.execute(delete(Run).where(Run.experiment_id == experiment_id))
    session.execute(delete(Job).where(Job.experiment_id == experiment_id))
    session.execute(delete(Experiment).where(Experiment.id == experiment_id))
    return True
