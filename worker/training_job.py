"""One claimed job from its rows to its last epoch. Imports torch: load it in a training process only."""

from collections.abc import Callable
from dataclasses import asdict
from math import isfinite, isnan
from typing import Any, TypeVar

import structlog
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import LeaseLostError, UnfitWorkerError
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.store import queue
from shared.store.checkpoints import NUM_KEPT, CheckpointStore
from shared.store.db import Database
from shared.store.queue import Lease, MetricsRow
from shared.store.states import JobState
from shared.store.tables import Experiment, Job, Run
from shared.training.engine import Engines
from shared.training.loop import train
from shared.training.population import EpochRecord, Member, Population
from shared.training.toolchain import Toolchain
from worker.lease_keeper import LeaseKeeper, StopReason
from worker.tally import Tally
from worker.tasks import retry_while_away

log = structlog.get_logger(__name__)

T = TypeVar("T")


class TrainingJob:
    """Connects a population with the store: what `shared.training.loop.train` needs from outside."""

    def __init__(
        self, database: Database, settings: Settings, lease: Lease, keeper: LeaseKeeper, *, epochs: Tally
    ) -> None:
        self.database, self.settings, self.lease, self.keeper, self.epochs = database, settings, lease, keeper, epochs
        self.files = CheckpointStore(settings.checkpoints_dir)
        self.engines = Engines(
            toolchain=Toolchain(settings.compiled_dir), datasets_dir=settings.effective_datasets_dir,
            worker_device=settings.worker_device,
        )  # fmt: skip
        self._num_checkpoints = 0
        members = retry_while_away(self._read, give_up=lambda: keeper.is_lost)
        self.run_ids = [run_id for run_id, _ in members]
        self.members = [member for _, member in members]

    def _read(self) -> list[tuple[str, Member]]:
        """What the database knows of the job; its runs that are to be trained, by id.

        Raises: LeaseLostError: it was purged since it was claimed.
        """
        with self.database.read() as session:
            job = session.get(Job, self.lease.job_id)
            experiment = session.get(Experiment, job.experiment_id) if job else None
            if job is None or experiment is None:
                raise LeaseLostError(f"job {self.lease.job_id} was deleted")
            self.pointers, self.numerics = list(job.checkpoints), job.numerics
            self.experiment_id = job.experiment_id
            self.spec = ExperimentSpec.model_validate(experiment.spec)
            self.activation = next(entry for entry in self.spec.activations if entry.name == job.activation)
            own = select(Run).where(Run.job_id == self.lease.job_id, Run.reused_from.is_(None))
            runs = session.scalars(own.order_by(Run.seed, Run.rate))
            return [(run.id, Member(run.rate, run.seed)) for run in runs]

    def run(self) -> bool:
        """Train until the end, a drain or the loss of the lease.

        Returns: whether the job left this process in order; its lease, which a renewal may still ask for, is over.
        Raises: LeaseLostError; whatever training raises, which fails the job.
        """
        population = self._prepare()
        finished = train(population, self, checkpoint_interval_s=self.settings.checkpoint_interval_s)
        if finished:
            self._complete()
            self.files.remove(self.lease.job_id)
            log.info("job succeeded")
            return True
        if self.keeper.reason is StopReason.DRAINING:
            self.checkpoint(population)
            self._write(lambda session: queue.release(session, self.lease))
            log.info("job handed back", epoch=population.epoch)
            return True
        return False

    def _prepare(self) -> Population:
        torch.set_num_threads(1)
        decided = self.numerics or self.engines.decide(self.spec, self.activation, self.members)
        numerics = self._write(lambda session: queue.fix_numerics(session, self.lease, decided))
        self._write(lambda session: queue.mark_running(session, self.lease))
        missing = self.spec.dataset.missing(self.settings.effective_datasets_dir)
        if missing:
            raise UnfitWorkerError(f"the data set is not on this worker's disk; run: {missing}")
        population = self._restore(numerics)
        facts = [{"id": run_id, **asdict(fact)} for run_id, fact in zip(self.run_ids, population.facts, strict=True)]
        self._write(lambda session: queue.describe_runs(session, self.lease, facts))
        self._write(lambda session: queue.rewind(session, self.lease, population.epoch))
        log.info(
            "training begins", experiment=self.experiment_id, activation=self.activation.name,
            runs=len(self.run_ids), epoch=population.epoch, engine=numerics["engine"],
        )  # fmt: skip
        return population

    def _restore(self, numerics: dict[str, Any]) -> Population:
        """The population at its newest checkpoint that can be read and fits, else at its beginning."""
        population = self._build(numerics)
        for state in self.files.load(self.lease.job_id, self.pointers):
            try:
                population.load_state(state)
            except (KeyError, ValueError, RuntimeError) as error:
                log.warning("checkpoint does not fit", error=str(error))
                population = self._build(numerics)  # half of it may have been loaded
                continue
            log.info("resumed from checkpoint", epoch=population.epoch)
            break
        return population

    def _build(self, numerics: dict[str, Any]) -> Population:
        return self.engines.build(self.spec, self.activation, self.members, numerics)

    def stop_requested(self) -> bool:
        """Whether the lease is lost or the worker drains."""
        return self.keeper.stop_requested

    def commit(self, records: list[EpochRecord]) -> None:
        """Write an epoch, once, however often it takes."""
        rows = [self._row(record) for record in records]
        diverged = [self.run_ids[record.member] for record in records if record.diverged]
        self._write(lambda session: queue.commit_epoch(session, self.lease, rows, diverged=diverged))
        self.epochs.add(len(rows))
        log.debug("epoch committed", epoch=records[0].epoch if records else None, runs=len(rows))

    def _write(self, action: Callable[[Session], T]) -> T:
        """One transaction, tried again while the database is away: each of them may be repeated."""

        def transaction() -> T:
            with self.database.write() as session:
                return action(session)

        return retry_while_away(transaction, give_up=lambda: self.keeper.is_lost)

    def _row(self, record: EpochRecord) -> MetricsRow:
        fields = asdict(record)
        for name in ("member", "epoch", "diverged"):
            del fields[name]
        odd = [value for value in fields.values() if value is not None and not isfinite(value)]
        finite = {name: value if value is not None and isfinite(value) else None for name, value in fields.items()}
        nonfinite = _name_of(odd[0]) if odd else "nan" if record.diverged else None
        return MetricsRow(self.run_ids[record.member], record.epoch, **finite, nonfinite=nonfinite)

    def checkpoint(self, population: Population) -> None:
        """Save the population and point the job at it; a full disk costs the checkpoint, not the job."""
        self._num_checkpoints += 1
        try:
            pointer = self.files.save(
                self.lease, population.state(), epoch=population.epoch, number=self._num_checkpoints
            )
        except OSError:
            log.exception("checkpoint not written")
            return
        pointers = [pointer, *self.pointers][:NUM_KEPT]
        self._write(lambda session: queue.save_checkpoint(session, self.lease, pointers))
        self.pointers = pointers
        try:
            self.files.keep_only(self.lease.job_id, pointers)
        except OSError:
            log.exception("old checkpoints not removed")

    def _complete(self) -> None:
        try:
            self._write(lambda session: queue.complete(session, self.lease))
        except LeaseLostError:
            # An earlier attempt may have got through although its answer was lost.
            with self.database.read() as session:
                job = session.get_one(Job, self.lease.job_id)
                if (job.state, job.token) != (JobState.SUCCEEDED, self.lease.token):
                    raise


def _name_of(value: float) -> str:
    return "nan" if isnan(value) else "inf" if value > 0 else "-inf"
