"""How long the transactions of workers and of the reconciler take on a full database."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from benchmarks.scale.filling import pending_jobs
from benchmarks.scale.timing import Timing, timed
from shared.settings import Settings
from shared.store import lifecycle, presence, queue, reconciler, repository
from shared.store.checkpoints import CheckpointStore
from shared.store.db import Database
from shared.store.doorbell import dispatch
from shared.store.queue import Lease, MetricsRow
from shared.store.states import JobState
from shared.store.tables import Experiment, Job, Run
from shared.store.types import new_id

NUM_CHECKPOINTS = 200


def measure(database: Database, settings: Settings, *, times: int) -> Iterator[Timing]:
    """Time what a worker does with a job, then each duty of the reconciler and a whole sweep."""
    yield from _worker(database, times=min(times, 500))
    yield from _reconciler(database, settings, times=times)


def _worker(database: Database, *, times: int) -> Iterator[Timing]:
    with database.read() as session:
        waiting = iter(pending_jobs(session, times + 1))
    leases: list[Lease] = []

    def claim() -> None:
        with database.write() as session:
            lease = queue.claim(session, next(waiting), new_id())
        assert lease is not None
        leases.append(lease)

    yield timed("claim", claim, times=times)
    for name, action in (
        ("mark running", queue.mark_running), ("renew", queue.renew), ("commit an epoch of 4 runs", _commit),
        ("complete", queue.complete),
    ):  # fmt: skip
        yield timed(name, _with_each(database, leases, action), times=len(leases) - 1)


def _with_each(
    database: Database, leases: Sequence[Lease], action: Callable[[Session, Lease], object]
) -> Callable[[], None]:
    left = iter(leases)

    def act() -> None:
        with database.write() as session:
            action(session, next(left))

    return act


def _commit(session: Session, lease: Lease) -> None:
    run_ids = session.scalars(select(Run.id).where(Run.job_id == lease.job_id))
    queue.commit_epoch(session, lease, [MetricsRow(run_id, 1, val_loss=0.5) for run_id in run_ids])


def _reconciler(database: Database, settings: Settings, *, times: int) -> Iterator[Timing]:
    with database.write() as session:
        presence.announce(session, new_id(), device="cpu")
    _leave_checkpoints(database, settings)
    duties: dict[str, Callable[[Database, Settings], object]] = {
        "sweep: reap silent jobs": reconciler.reap_silent,
        "sweep: finish experiments": reconciler.finish_experiments,
        f"sweep: checkpoints of {NUM_CHECKPOINTS} jobs": reconciler.remove_checkpoints,
        "sweep: forget old rows": reconciler.forget_old,
        "sweep: dispatch, nothing to do": dispatch,
    }
    for name, duty in duties.items():
        yield timed(name, lambda duty=duty: duty(database, settings), times=times)  # type: ignore[misc]
    yield timed(
        "sweep: dispatch two jobs", lambda: dispatch(database, settings), times=times,
        between=lambda: _undispatch(database),
    )  # fmt: skip
    yield timed("progress of 50 experiments", lambda: _progress(database), times=times)
    yield timed("purge: one piece", lambda: _purge(database), times=min(times, 100))
    _purge_all(database, settings)
    yield timed("sweep: purge, nothing to do", lambda: reconciler.purge_deleted(database, settings), times=times)
    yield timed("a whole sweep", lambda: reconciler.sweep(database, settings), times=times)


def _leave_checkpoints(database: Database, settings: Settings) -> None:
    """Files of jobs that are not over, as there are on a busy service."""
    files = CheckpointStore(settings.checkpoints_dir)
    with database.read() as session:
        for job_id in pending_jobs(session, NUM_CHECKPOINTS):
            (files.folder / job_id).mkdir(parents=True, exist_ok=True)
            (files.folder / job_id / "000001-00000001.safetensors").write_text(json.dumps({}))


def _undispatch(database: Database) -> None:
    with database.write() as session:
        session.execute(
            update(Job).where(Job.state == JobState.DISPATCHED).values(state=JobState.PENDING, dispatched_at=None),
            execution_options={"synchronize_session": False},
        )


def _progress(database: Database) -> Any:
    with database.read() as session:
        newest = select(Experiment).where(Experiment.owner == "alice").order_by(Experiment.created_at.desc()).limit(50)
        return repository.progress_of(session, list(session.scalars(newest)))


def _purge(database: Database) -> None:
    deleted = select(Experiment.id).where(Experiment.deleted_at.is_not(None)).limit(1)
    with database.write() as session:
        experiment_id = session.scalar(deleted)
        if experiment_id is not None:
            lifecycle.purge_some(session, experiment_id)


def _purge_all(database: Database, settings: Settings) -> None:
    deleted = select(Experiment.id).where(Experiment.deleted_at.is_not(None)).limit(1)
    while True:
        reconciler.purge_deleted(database, settings)
        with database.read() as session:
            if session.scalar(deleted) is None:
                return
