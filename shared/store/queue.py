"""The queue, whose truth is the jobs table: claim, renew, commit, and every way in which a job leaves a worker.

Each transition is one guarded UPDATE. A worker holds a job by its token; whoever's token is old writes nothing.
Definition of the states: `states.py`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.errors import LeaseLostError
from shared.store import counters, events
from shared.store.counters import CounterName
from shared.store.lifecycle import end_runs, finish_if_done
from shared.store.repository import progress_of
from shared.store.rows import changed_rows
from shared.store.states import LEASED_JOB, WAITING_JOB, ExperimentState, JobState, Outcome, RunState
from shared.store.tables import EpochMetrics, Experiment, Job, Run
from shared.store.types import ago, now


class ConflictingMetricsError(Exception):
    """An epoch was measured twice with different results: a fault of ours that nobody may overlook."""


@dataclass(frozen=True)
class Lease:
    """A job in a worker's hands: every write names the job and this token."""

    job_id: str
    token: int


@dataclass(frozen=True)
class MetricsRow:
    """One row of epoch_metrics; None where a number does not exist or is not finite."""

    run_id: str
    epoch: int
    train_loss: float | None = None
    val_loss: float | None = None
    train_accuracy: float | None = None
    val_accuracy: float | None = None
    val_loss_a: float | None = None
    val_accuracy_a: float | None = None
    memorization: float | None = None
    recovery: float | None = None
    nonfinite: str | None = None


def claim(session: Session, job_id: str, worker_id: str, *, devices: Sequence[str] = ("any", "cuda")) -> Lease | None:
    """Take a waiting job by compare-and-set; None when somebody else has it, it is over, or needs another device."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state.in_(WAITING_JOB), Job.device.in_(devices))
        .values(
            state=JobState.RUNNING, token=Job.token + 1, worker_id=worker_id,
            claimed_at=now(), heartbeat_at=None, dispatched_at=None,
        )
        .returning(Job.token, Job.experiment_id)
    )  # fmt: skip
    claimed = session.execute(statement, execution_options={"synchronize_session": False}).first()
    if claimed is None:
        return None
    token, experiment_id = claimed
    events.jobs_changed(session, experiment_id, [job_id], JobState.RUNNING)
    return Lease(job_id, token)


def claim_next(session: Session, job_id: str, worker_id: str, *, devices: Sequence[str]) -> Lease | None:
    """Take a job that was interrupted, the one that was begun first; where there is none, the one that was rung for.

    An interrupted job has waited its turn already. Its message would come last: the broker has many before it.
    """
    interrupted = (
        select(Job.id)
        .where(Job.state.in_(WAITING_JOB), Job.claimed_at.is_not(None), Job.device.in_(devices))
        .order_by(Job.claimed_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return claim(session, session.scalar(interrupted) or job_id, worker_id, devices=devices)


def mark_running(session: Session, lease: Lease) -> None:
    """Let the job's runs and, with its first job, the experiment be seen as running."""
    _lock_experiment(session, lease)
    renew(session, lease)
    experiment = session.get_one(Experiment, session.get_one(Job, lease.job_id).experiment_id)
    if experiment.state == ExperimentState.QUEUED:
        experiment.state = ExperimentState.RUNNING
        moment = datetime.now(UTC)
        experiment.started_at = experiment.started_at or moment
        experiment.running_since = moment
        experiment.epochs_before = progress_of(session, [experiment])[experiment.id].epochs_done
        events.experiment_changed(session, experiment)
    changed_rows(
        session,
        update(Run).where(Run.job_id == lease.job_id, Run.state == RunState.PENDING).values(state=RunState.RUNNING),
    )


def _change_held(session: Session, lease: Lease, *states: JobState, **values: Any) -> str:
    """Change the job if this lease still holds it in one of these states.

    Returns: the id of its experiment.
    Raises: LeaseLostError.
    """
    held = update(Job).where(Job.id == lease.job_id, Job.token == lease.token, Job.state.in_(states))
    changed = held.values(values).returning(Job.experiment_id)
    experiment_id = session.scalar(changed, execution_options={"synchronize_session": False})
    if experiment_id is None:
        raise LeaseLostError(f"job {lease.job_id} is no longer held under token {lease.token}")
    return experiment_id


def renew(session: Session, lease: Lease) -> str:
    """Prolong the lease.

    Returns: the id of the job's experiment.
    Raises: LeaseLostError: the job was cancelled, or passed to somebody else.
    """
    return _change_held(session, lease, JobState.RUNNING, heartbeat_at=now())


def fix_numerics(session: Session, lease: Lease, numerics: dict[str, Any]) -> dict[str, Any]:
    """Store what was decided at the first claim; later claims get that back instead of their own."""
    renew(session, lease)
    job = session.get_one(Job, lease.job_id)
    if job.numerics is None:
        job.numerics = numerics
        # What has begun on a GPU goes on there, also after a drain or a loss.
        job.device = "cuda" if numerics["device"] == "cuda" else job.device
    return job.numerics


def describe_runs(session: Session, lease: Lease, facts: Sequence[dict[str, Any]]) -> None:
    """Store null scores, realised rate and mask hash of each run; each fact holds the run's `id`."""
    renew(session, lease)
    session.execute(update(Run), list(facts))


def commit_epoch(session: Session, lease: Lease, rows: Sequence[MetricsRow], *, diverged: Sequence[str] = ()) -> None:
    """Renew the lease and write one epoch of a population, each (run, epoch) once.

    Args:
        diverged: ids of the runs that ended with this epoch because something was no longer finite.
    Raises: LeaseLostError; ConflictingMetricsError: a row is there already with other numbers.
    """
    experiment_id = renew(session, lease)
    if not rows:
        return
    num_new = _insert_new(session, rows)
    if num_new < len(rows):
        _check_same(session, rows)
    if num_new:
        events.epoch_committed(session, experiment_id, lease.job_id, rows[0].epoch)
    run_ids = [row.run_id for row in rows]
    changed_rows(session, update(Run).where(Run.id.in_(run_ids)).values(epoch=rows[0].epoch))
    if diverged:
        values_diverged = {"state": RunState.SUCCEEDED, "outcome": Outcome.DIVERGED}
        changed_rows(session, update(Run).where(Run.id.in_(diverged)).values(values_diverged))


def _insert_new(session: Session, rows: Sequence[MetricsRow]) -> int:
    """Insert the rows that are not there yet; how many that were."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    # One statement for any number of rows, on the connection: it is compiled once in the life of a process.
    statement = insert(EpochMetrics).on_conflict_do_nothing()
    values = [vars(row) for row in rows]
    result = session.connection().execute(statement, values, execution_options={"preserve_rowcount": True})
    return result.rowcount


def _check_same(session: Session, rows: Sequence[MetricsRow]) -> None:
    for row in rows:
        stored = session.get_one(EpochMetrics, (row.run_id, row.epoch))
        if any(getattr(stored, name) != value for name, value in asdict(row).items()):
            raise ConflictingMetricsError(f"run {row.run_id}, epoch {row.epoch}: stored and new metrics differ")


def save_checkpoint(session: Session, lease: Lease, checkpoints: list[dict[str, Any]]) -> None:
    """Point the job at its checkpoints, newest first.

    Raises: LeaseLostError.
    """
    _change_held(session, lease, JobState.RUNNING, checkpoints=checkpoints, heartbeat_at=now())


def rewind(session: Session, lease: Lease, epoch: int) -> None:
    """Forget everything measured after `epoch`, where the checkpoint stands, so that a curve has one lineage."""
    renew(session, lease)
    trained = (Run.job_id == lease.job_id, Run.reused_from.is_(None))
    run_ids = select(Run.id).where(*trained)
    changed_rows(session, delete(EpochMetrics).where(EpochMetrics.run_id.in_(run_ids), EpochMetrics.epoch > epoch))
    later = update(Run).where(*trained, Run.epoch > epoch)
    changed_rows(session, later.values(epoch=epoch, state=RunState.RUNNING, outcome=None))


def complete(session: Session, lease: Lease) -> None:
    """All runs of the job are trained.

    Raises: LeaseLostError.
    """
    experiment_id = _leave(session, lease, JobState.SUCCEEDED, JobState.RUNNING)
    open_runs = update(Run).where(Run.job_id == lease.job_id, Run.state == RunState.RUNNING)
    changed_rows(session, open_runs.values(state=RunState.SUCCEEDED, outcome=Outcome.OK))
    finish_if_done(session, experiment_id)


def fail(session: Session, lease: Lease, reason: str) -> None:
    """The job cannot be done: its training raised an error that would come again."""
    experiment_id = _leave(session, lease, JobState.FAILED, JobState.RUNNING, error=reason)
    end_runs(session, [lease.job_id], RunState.FAILED)
    finish_if_done(session, experiment_id)


def confirm_cancelled(session: Session, lease: Lease) -> bool:
    """Stop a job that was flagged; False when it was not flagged but passed to somebody else."""
    try:
        experiment_id = _leave(session, lease, JobState.CANCELLED, JobState.CANCELLING)
    except LeaseLostError:
        return False
    end_runs(session, [lease.job_id], RunState.CANCELLED)
    finish_if_done(session, experiment_id)
    return True


def _leave(session: Session, lease: Lease, to: JobState, *states: JobState, error: str | None = None) -> str:
    """End the job; the id of its experiment."""
    _lock_experiment(session, lease)
    experiment_id = _change_held(session, lease, *states, state=to, error=error, finished_at=now())
    events.jobs_changed(session, experiment_id, [lease.job_id], to, error=error)
    return experiment_id


def _lock_experiment(session: Session, lease: Lease) -> None:
    """Taken before the job, as everywhere, so that two last jobs cannot wait for each other."""
    experiment_id = select(Job.experiment_id).where(Job.id == lease.job_id).scalar_subquery()
    session.execute(select(Experiment.id).where(Experiment.id == experiment_id).with_for_update())


def _let_runs_wait(session: Session, job_id: str) -> None:
    running = update(Run).where(Run.job_id == job_id, Run.state == RunState.RUNNING)
    changed_rows(session, running.values(state=RunState.PENDING))


def release(session: Session, lease: Lease) -> None:
    """Hand a job back while draining: it waits again from its checkpoint, and nothing counts as lost.

    Raises: LeaseLostError: it was cancelled, or passed to somebody else.
    """
    _lock_experiment(session, lease)
    _hand_back(session, lease)


def reject(session: Session, lease: Lease, reason: str, *, max_losses: int) -> None:
    """Hand a job back that this worker is not fit for; it waits its turn again, for another one.

    It counts as a loss, so that a job that nobody is fit for fails in the end, with the reason.

    Raises: LeaseLostError.
    """
    _lock_experiment(session, lease)
    renew(session, lease)
    if session.get_one(Job, lease.job_id).losses + 1 >= max_losses:
        fail(session, lease, reason)
        return
    _hand_back(session, lease, losses=Job.losses + 1, claimed_at=None)


def _hand_back(session: Session, lease: Lease, **values: Any) -> None:
    waiting = {"state": JobState.PENDING, "worker_id": None, "dispatched_at": None}
    experiment_id = _change_held(session, lease, JobState.RUNNING, **waiting, **values)
    events.jobs_changed(session, experiment_id, [lease.job_id], JobState.PENDING)
    _let_runs_wait(session, lease.job_id)


def silent_jobs(session: Session, ttl_s: float) -> list[tuple[str, str]]:
    """(job id, experiment id) of the leases whose worker has said nothing for longer than `ttl_s`."""
    silent = select(Job.id, Job.experiment_id).where(Job.state.in_(LEASED_JOB), _silent_for(ttl_s)).order_by(Job.id)
    return [(job_id, experiment_id) for job_id, experiment_id in session.execute(silent)]


def num_silent_jobs(session: Session, ttl_s: float) -> int:
    """How many leases there are whose worker has said nothing for longer than `ttl_s`."""
    silent = select(func.count()).select_from(Job).where(Job.state.in_(LEASED_JOB), _silent_for(ttl_s))
    return session.scalar(silent) or 0


def _silent_for(ttl_s: float) -> ColumnElement[bool]:
    # Before the first heartbeat the claim itself is the sign of life.
    return func.coalesce(Job.heartbeat_at, Job.claimed_at) < ago(ttl_s)


def reap(session: Session, job_id: str, experiment_id: str, *, ttl_s: float, max_losses: int) -> bool:
    """Take a job back from a worker that is still silent; False when it was heard of meanwhile.

    A job that lost `max_losses` workers is failed: it would take down the next ones too.
    """
    session.execute(select(Experiment.id).where(Experiment.id == experiment_id).with_for_update())
    reason = f"its worker was lost {max_losses} times, perhaps for want of memory"
    is_last, was_flagged = Job.losses + 1 >= max_losses, Job.state == JobState.CANCELLING
    values = {
        "state": case((was_flagged, JobState.CANCELLED), (is_last, JobState.FAILED), else_=JobState.PENDING),
        "error": case((was_flagged, None), (is_last, reason), else_=None),
        "finished_at": case((was_flagged | is_last, now()), else_=None),
        "losses": Job.losses + 1, "worker_id": None, "dispatched_at": None,
    }  # fmt: skip
    statement = update(Job).where(Job.id == job_id, Job.state.in_(LEASED_JOB), _silent_for(ttl_s)).values(values)
    options = {"synchronize_session": False}
    reaped = session.execute(statement.returning(Job.state, Job.error), execution_options=options).first()
    if reaped is None:
        return False
    state, error = reaped
    events.jobs_changed(session, experiment_id, [job_id], state, error=error)
    if state in {JobState.FAILED, JobState.CANCELLED}:
        end_runs(session, [job_id], RunState(state))
        finish_if_done(session, experiment_id)
    else:
        _let_runs_wait(session, job_id)
    counters.add(session, CounterName.LEASE_LOSSES, 1)
    return True
