"""The reconciler: a sweep every few seconds that puts right whatever a crash or a forgetful broker left behind.

It alone is enough to keep jobs moving; any number of them may run at once.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import select

from shared.settings import Settings
from shared.store import events, lifecycle, presence, queue, repository
from shared.store.checkpoints import CheckpointStore
from shared.store.clock_watch import ClockWatch
from shared.store.db import Database
from shared.store.doorbell import dispatch
from shared.store.rows import unindexed
from shared.store.states import OPEN_EXPERIMENT, OPEN_JOB, JobState
from shared.store.tables import Experiment, Job
from shared.store.types import new_id

log = structlog.get_logger(__name__)

PURGES_PER_SWEEP = 10
# Checkpoints of a job that the database does not know; younger ones may belong to a database about to be restored.
ORPHAN_AGE_S = 86_400.0


Duty = Callable[[Database, Settings], object]


def run_forever(settings: Settings, stop: threading.Event, *duties: Duty) -> None:
    """Sweep until `stop` is set; a sweep that fails is logged and tried again.

    Args:
        duties: what a sweep does beside its own, of those who stand above the store.
    """
    database = Database(settings.effective_database_url)
    reconciler_id = new_id()
    watch = ClockWatch(settings.lease_ttl_s)
    while not stop.is_set():
        sweep(database, settings, *duties, watch=watch)
        # One that is not running would be missed by nobody until a worker is lost.
        _attempt("announce", partial(_announce, database, reconciler_id))
        stop.wait(settings.reconcile_interval_s)
    _attempt("leave", partial(_leave, database, reconciler_id))
    database.close()


def _announce(database: Database, reconciler_id: str) -> None:
    with database.write() as session:
        presence.announce(session, reconciler_id, device=presence.RECONCILER)


def _leave(database: Database, reconciler_id: str) -> None:
    with database.write() as session:
        presence.leave(session, reconciler_id)


def sweep(database: Database, settings: Settings, *more: Duty, watch: ClockWatch | None = None) -> None:
    """One round of all duties; none keeps the others from their turn.

    Args:
        watch: keeps jobs with their workers while it distrusts the clock.
    """

    def reap(database: Database, settings: Settings) -> None:
        if watch is None or watch.is_steady(database):
            reap_silent(database, settings)

    duties: tuple[Duty, ...] = (
        reap, finish_experiments, *more, dispatch, purge_deleted, remove_checkpoints, forget_old,
    )  # fmt: skip
    for duty in duties:
        _attempt(getattr(duty, "__name__", "duty"), partial(duty, database, settings))


def _attempt(what: str, action: Callable[[], object]) -> None:
    """Do one thing; a fault is logged, so that it ends neither this sweep nor all the next ones."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 (whatever it is, the next sweep tries again)
        log.warning("reconciler", duty=what, error=f"{type(error).__name__}: {error}")


def reap_silent(database: Database, settings: Settings) -> None:
    """Take back the jobs of workers that are gone."""
    with database.read() as session:
        silent = queue.silent_jobs(session, settings.lease_ttl_s)
    for job_id, experiment_id in silent:
        _attempt(f"reap {job_id}", partial(_reap, database, settings, job_id, experiment_id))


def _reap(database: Database, settings: Settings, job_id: str, experiment_id: str) -> None:
    with database.write() as session:
        reaped = queue.reap(session, job_id, experiment_id, ttl_s=settings.lease_ttl_s, max_losses=settings.max_losses)
    if reaped:
        log.warning("worker lost, job taken back", job=job_id)


def finish_experiments(database: Database, settings: Settings) -> None:  # noqa: ARG001 (the signature of a duty)
    """End the experiments whose jobs are all over: a process may have died in between."""
    unfinished = select(Job.id).where(Job.experiment_id == Experiment.id, Job.state.in_(OPEN_JOB)).exists()
    # The open states by name, of which there are few: what is *not* in some states no index finds.
    stuck = select(Experiment.id).where(Experiment.state.in_(OPEN_EXPERIMENT), ~unfinished)
    with database.read() as session:
        experiment_ids = list(session.scalars(stuck))
    for experiment_id in experiment_ids:
        _attempt(f"finish {experiment_id}", partial(_finish, database, experiment_id))


def _finish(database: Database, experiment_id: str) -> None:
    with database.write() as session:
        lifecycle.finish_if_done(session, experiment_id)


def purge_deleted(database: Database, settings: Settings) -> None:
    """Remove deleted experiments, a few thousand rows at a time so that nobody waits for it."""
    deleted = select(Experiment.id).where(Experiment.deleted_at.is_not(None)).limit(1)
    files = CheckpointStore(settings.checkpoints_dir)
    for _ in range(PURGES_PER_SWEEP):
        with database.write() as session:
            experiment_id = session.scalar(deleted)
            if experiment_id is None:
                return
            job_ids = list(session.scalars(select(Job.id).where(Job.experiment_id == experiment_id)))
            gone = lifecycle.purge_some(session, experiment_id)
        for job_id in job_ids if gone else ():
            files.remove(job_id)


def remove_checkpoints(database: Database, settings: Settings) -> None:
    """Remove checkpoints of jobs that have succeeded, whose worker died before it could, and of jobs long purged."""
    files = CheckpointStore(settings.checkpoints_dir)
    job_ids = files.job_ids()
    old = [job_id for job_id in job_ids if files.age_s(job_id) > ORPHAN_AGE_S]
    with database.read() as session:
        query = select(Job.id).where(Job.id.in_(job_ids), unindexed(Job.state) == JobState.SUCCEEDED)
        succeeded = list(session.scalars(query))
        known = set(session.scalars(select(Job.id).where(Job.id.in_(old)))) if old else set()
    for job_id in [*succeeded, *(job_id for job_id in old if job_id not in known)]:
        files.remove(job_id)


def forget_old(database: Database, settings: Settings) -> None:
    """Remove idempotency keys past their time, processes long silent and the events of what ended long ago."""
    with database.write() as session:
        repository.forget_idempotency_keys(session, datetime.now(UTC) - timedelta(seconds=settings.idempotency_ttl_s))
        presence.forget_the_dead(session)
    for _ in range(PURGES_PER_SWEEP):
        with database.write() as session:
            if not events.forget_some(session):
                return
