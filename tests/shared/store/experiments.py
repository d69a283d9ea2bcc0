"""Experiments in a database, and what may happen to their jobs."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.plan import plan
from shared.spec import ExperimentSpec
from shared.store import lifecycle, queue, repository
from shared.store.db import Database
from shared.store.keys import LOCAL_OWNER
from shared.store.queue import Lease, MetricsRow
from shared.store.tables import Base, EpochMetrics, Experiment, Job, Run
from shared.store.types import ago, new_id
from tests.shared.specs import tiny_serial

TTL_S = 30.0


def post(database: Database, spec: ExperimentSpec | None = None, *, reuse: bool = False, **changes: Any) -> str:
    """Write a tiny experiment, to be trained whatever was trained before; its id."""
    wanted = (spec or tiny_serial(**changes)).model_copy(update={"reuse": reuse})
    with database.write() as session:
        return repository.create_experiment(session, wanted, plan(wanted), {"version": "test"}, owner=LOCAL_OWNER).id


def post_jobs(database: Database, *activations: str, **changes: Any) -> tuple[str, list[str]]:
    """Write an experiment of one job an activation; its id and those of its jobs."""
    experiment_id = post(database, activations=list(activations), **changes)
    return experiment_id, job_ids(database, experiment_id)


def job_ids(database: Database, experiment_id: str) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Job.id).where(Job.experiment_id == experiment_id).order_by(Job.id)))


def job(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return session.get_one(Job, job_id)


def experiment(database: Database, experiment_id: str) -> Experiment:
    with database.read() as session:
        return session.get_one(Experiment, experiment_id)


def runs(database: Database, job_id: str) -> list[Run]:
    with database.read() as session:
        return list(session.scalars(select(Run).where(Run.job_id == job_id).order_by(Run.position)))


def epochs(database: Database, job_id: str) -> dict[str, list[int]]:
    """The stored epochs of each run of a job."""
    query = (
        select(Run.id, EpochMetrics.epoch)
        .join(EpochMetrics, EpochMetrics.run_id == Run.id)
        .where(Run.job_id == job_id)
        .order_by(EpochMetrics.epoch)
    )
    found: dict[str, list[int]] = {run.id: [] for run in runs(database, job_id)}
    with database.read() as session:
        for run_id, epoch in session.execute(query):
            found[run_id].append(epoch)
    return found


def claim(database: Database, job_id: str, *, start: bool = True) -> Lease:
    """Claim a waiting job as a worker does."""
    with database.write() as session:
        lease = queue.claim(session, job_id, new_id())
        assert lease is not None
        if start:
            queue.mark_running(session, lease)
    return lease


def rows(database: Database, lease: Lease, epoch: int, **values: Any) -> list[MetricsRow]:
    """Metrics of one epoch for all runs of the job, different for each."""
    return [
        MetricsRow(run.id, epoch, **{"train_loss": 1 / (3 + epoch + index), "val_loss": 0.1 * index, **values})
        for index, run in enumerate(runs(database, lease.job_id))
    ]


def commit(database: Database, lease: Lease, *numbers: int) -> None:
    """Commit the metrics of some epochs."""
    for epoch in numbers:
        measured = rows(database, lease, epoch)
        with database.write() as session:
            queue.commit_epoch(session, lease, measured)


def complete(database: Database, lease: Lease) -> None:
    with database.write() as session:
        queue.complete(session, lease)


def train_to_the_end(database: Database, job_id: str, *, num_epochs: int = 3) -> Lease:
    """Claim, commit every epoch and complete."""
    lease = claim(database, job_id)
    commit(database, lease, *range(1, num_epochs + 1))
    complete(database, lease)
    return lease


def silence(database: Database, job_id: str, *, claimed_s: float, heartbeat_s: float | None) -> None:
    """Let a job's claim and last heartbeat lie that many seconds back."""
    heartbeat = None if heartbeat_s is None else ago(heartbeat_s)
    with database.write() as session:
        session.execute(
            update(Job).where(Job.id == job_id).values(claimed_at=ago(claimed_s), heartbeat_at=heartbeat),
            execution_options={"synchronize_session": False},
        )


def take_back(database: Database, job_id: str, *, max_losses: int = 3) -> bool:
    """Reap a job as the reconciler does; False when it was heard of meanwhile."""
    experiment_id = job(database, job_id).experiment_id
    with database.write() as session:
        return queue.reap(session, job_id, experiment_id, ttl_s=TTL_S, max_losses=max_losses)


def lose(database: Database, job_id: str, *, max_losses: int = 3) -> None:
    """Claim a job, fall silent for longer than the lease lasts, and have it taken back."""
    claim(database, job_id)
    silence(database, job_id, claimed_s=TTL_S + 1, heartbeat_s=None)
    assert take_back(database, job_id, max_losses=max_losses)


def fail(database: Database, job_id: str) -> None:
    """Claim a job and give up on it."""
    lease = claim(database, job_id)
    with database.write() as session:
        queue.fail(session, lease, "no")


def cancel(database: Database, experiment_id: str) -> None:
    """As the API does: flag, then end what nobody trains."""
    with database.write() as session:
        lifecycle.start_cancelling(session, experiment_id, owner=LOCAL_OWNER)
        lifecycle.finish_if_done(session, experiment_id)


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, to see that nothing changed."""
    with database.read() as session:
        return {name: _sorted(session, table) for name, table in Base.metadata.tables.items()}


def _sorted(session: Session, table: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in session.execute(select(table))), key=repr)


def num_rows(database: Database) -> Mapping[str, int]:
    return {name: len(rows) for name, rows in everything(database).items()}
