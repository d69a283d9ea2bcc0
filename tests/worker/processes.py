"""Training processes without Celery: what one of them does when a message with a job's id arrives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from shared.settings import Settings
from shared.store import queue
from shared.store.db import Database
from shared.store.metrics import NAMES, MetricsFilter, metrics_chunks
from shared.store.queue import Lease
from shared.store.tables import Run
from tests.shared.store.experiments import job, silence
from worker.tasks import Process

# Two seeds of two rates, three batches each, one after another.
SLICES_PER_EPOCH = 12
NUM_EPOCHS = 3

Key = tuple[str, float, int, int]


def never() -> bool:
    return False


class After:
    """What a process asks after each slice of training; the given slice brings the given event."""

    def __init__(self, num_slices: int, event: Callable[[], None] = lambda: None, *, drains: bool = False) -> None:
        self.num_slices, self.event, self.drains = num_slices, event, drains
        # One question before the claim and one after the job are not between slices.
        self.asked = -1

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked == self.num_slices:
            self.event()
        return self.drains and self.asked >= self.num_slices


class OneClaim(Process):
    """A process that looks for nothing else to train after its first job, not even for that job itself."""

    has_claimed = False

    def _claim(self, job_id: str) -> Lease | None:
        if self.has_claimed:
            return None
        self.has_claimed = True
        return super()._claim(job_id)


def train(
    settings: Settings, job_id: str, *, draining: Callable[[], bool] = never, kind: type[Process] = Process,
    **changes: Any,
) -> None:  # fmt: skip
    """A message arrives at a new process."""
    process = kind(settings.model_copy(update=changes), draining)
    try:
        process.train(job_id)
    finally:
        process.database.close()


def take_back(database: Database, settings: Settings, job_id: str) -> None:
    """Let a job's lease run out, and have it taken back."""
    silence(database, job_id, claimed_s=settings.lease_ttl_s + 1, heartbeat_s=settings.lease_ttl_s + 1)
    with database.write() as session:
        assert queue.reap(
            session, job_id, job(database, job_id).experiment_id, ttl_s=settings.lease_ttl_s, max_losses=10
        )


def measured(database: Database, experiment_id: str) -> dict[Key, tuple[Any, ...]]:
    """All metrics of an experiment by (activation, rate, seed, epoch)."""
    first = NAMES.index("train_loss")
    found: dict[Key, tuple[Any, ...]] = {}
    with database.read() as session:
        for chunk in metrics_chunks(session, experiment_id, MetricsFilter()):
            for row in chunk:
                key = (row[1], row[2], row[3], row[4])
                assert key not in found, f"{key} is there twice"
                found[key] = tuple(row[first:])
    return found


def described(database: Database, experiment_id: str) -> dict[tuple[str, float, int], tuple[Any, ...]]:
    """What is stored of each run beside its metrics."""
    query = select(Run).where(Run.experiment_id == experiment_id)
    with database.read() as session:
        return {
            (run.activation, run.rate, run.seed): (
                run.state, run.outcome, run.epoch, run.null_loss, run.null_accuracy, run.realised_rate, run.mask_hash,
            )
            for run in session.scalars(query)
        }  # fmt: skip


def checkpoint_files(settings: Settings, job_id: str) -> list[Path]:
    folder = settings.checkpoints_dir / job_id
    return sorted(folder.iterdir()) if folder.is_dir() else []
