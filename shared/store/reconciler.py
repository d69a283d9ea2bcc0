"""The reconciler: a sweep every few seconds that puts right whatever a crash or a forgetful broker left behind.

It alone is enough to keep jobs moving; any number of them may run at once.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import select

from shared.settings import Settings
from shared.store import presence, queue, repository
from shared.store.checkpoints import CheckpointStore
from shared.store.db import Database
from shared.store.doorbell import dispatch
from shared.store.states import FINISHED_EXPERIMENT, FINISHED_JOB
from shared.store.tables import Experiment, Job

log = structlog.get_logger(__name__)

PURGES_PER_SWEEP = 10


def run_forever(settings: Settings, stop: threading.Event) -> None:
    """Sweep until `stop` is set; a sweep that fails is logged and tried again."""
    database = Database(settings.effective_database_url)
    while not stop.is_set():
        sweep(database, settings)
        stop.wait(settings.reconcile_interval_s)
    database.close()


def sweep(database: Database, settings: Settings) -> None:
    """One round of all duties; none keeps the others from their turn."""
    duties: tuple[Callable[[Database, Settings], object], ...] = (
        reap_silent, finish_experiments, dispatch, purge_deleted, forget_old,
    )  # fmt: skip
    for duty in duties:
        try:
            duty(database, settings)
        except Exception as error:  # noqa: BLE001 (a fault in one sweep must not end all the next ones)
            log.warning("reconciler", duty=duty.__name__, error=f"{type(error).__name__}: {error}")


def reap_silent(database: Database, settings: Settings) -> int:
    """Take back the jobs of workers that are gone; the number taken."""
    with database.read() as session:
        silent = queue.silent_jobs(session, settings.lease_ttl_s)
    taken = 0
    for job_id, experiment_id in silent:
        with database.write() as session:
            reaped = queue.reap(
                session, job_id, experiment_id, ttl_s=settings.lease_ttl_s, max_losses=settings.max_losses
            )
        if reaped:
            log.warning("worker lost, job taken back", job=job_id)
            taken += 1
    return taken


def finish_experiments(database: Database, settings: Settings) -> None:  # noqa: ARG001 (the signature of a duty)
    """End the experiments whose jobs are all over: a process may have died in between."""
    unfinished = select(Job.id).where(Job.experiment_id == Experiment.id, Job.state.not_in(FINISHED_JOB)).exists()
    stuck = select(Experiment.id).where(Experiment.state.not_in(FINISHED_EXPERIMENT), ~unfinished)
    with database.read() as session:
        experiment_ids = list(session.scalars(stuck))
    for experiment_id in experiment_ids:
        with database.write() as session:
            repository.finish_if_done(session, experiment_id)


def purge_deleted(database: Database, settings: Settings) -> None:
    """Remove deleted experiments, a few thousand rows at a time so that nobody waits for it."""
    deleted = select(Experiment.id).where(Experiment.deleted_at.is_not(None)).limit(1)
    for _ in range(PURGES_PER_SWEEP):
        with database.read() as session:
            experiment_id = session.scalar(deleted)
            if experiment_id is None:
                return
            job_ids = list(session.scalars(select(Job.id).where(Job.experiment_id == experiment_id)))
        for job_id in job_ids:
            CheckpointStore(settings.checkpoints_dir).remove(job_id)
        with database.write() as session:
            repository.purge_some(session, experiment_id)


def forget_old(database: Database, settings: Settings) -> None:
    """Remove idempotency keys past their time and processes long silent."""
    with database.write() as session:
        repository.forget_idempotency_keys(session, datetime.now(UTC) - timedelta(seconds=settings.idempotency_ttl_s))
        presence.forget_the_dead(session)
