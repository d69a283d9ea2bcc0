"""Our engine alone: an experiment's jobs on worker processes of one thread each, without HTTP, broker or database.

Starting the processes and importing torch is not timed; loading the data of every job is, other than for the rivals.
"""

import multiprocessing
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.child import peak_memory_mib
from benchmarks.rivals.cells import cells_of
from shared.plan import PlannedJob, plan
from shared.spec import ExperimentSpec

START_TIMEOUT_S = 300
WARM_UP_BATCHES = 2


@dataclass(frozen=True)
class Workshop:
    """What a worker trains with: an engine, and the folders of data sets and of compiled code."""

    engine: str
    datasets_dir: Path
    compiled_dir: Path


@dataclass(frozen=True)
class JobRun:
    """One job as a worker trained it; validation losses by (activation, rate, seed), one for each epoch."""

    process_id: int
    load_s: float
    train_s: float
    peak_memory_mib: float
    val_losses: Mapping[tuple[str, float, int], list[float]]


@dataclass(frozen=True)
class EngineRun:
    """All jobs: wall seconds from the first to the last, and the validation losses in the order of `cells_of(spec)`.

    `load_s` is the part of all workers' time that went into data and building networks; memory is the sum of the
    workers' peaks, in which pages that they share count once for each.
    """

    wall_s: float
    flops_per_s: float
    load_s: float
    peak_memory_mib: float
    val_losses: list[list[float]]


def run_engine(spec: ExperimentSpec, workshop: Workshop, *, num_workers: int | None = None) -> EngineRun:
    """Train all jobs of a spec.

    Args:
        num_workers: processes of one thread; as many as cores when None.
    Raises: BrokenProcessPool: a worker died or could not start.
    """
    count = num_workers or available_cores()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(count)
    planned = plan(spec)
    with ProcessPoolExecutor(count, context, _start_worker, (start, spec, workshop)) as pool:
        # One idle task for each worker: all are started, and none has passed the barrier before the last is warm.
        for ready in [pool.submit(os.getpid) for _ in range(count)]:
            ready.result()
        began = time.perf_counter()
        futures = [pool.submit(train_job, spec, job, workshop) for job in planned.jobs]
        jobs = [future.result() for future in futures]
        wall_s = time.perf_counter() - began
    return _summary(spec, jobs, wall_s, planned.training_flops)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _summary(spec: ExperimentSpec, jobs: list[JobRun], wall_s: float, training_flops: float) -> EngineRun:
    val_losses = {run: losses for job in jobs for run, losses in job.val_losses.items()}
    peaks: dict[int, float] = {}
    for job in jobs:
        peaks[job.process_id] = max(job.peak_memory_mib, peaks.get(job.process_id, 0.0))
    return EngineRun(
        wall_s=wall_s,
        flops_per_s=training_flops / wall_s,
        load_s=sum(job.load_s for job in jobs),
        peak_memory_mib=sum(peaks.values()),
        val_losses=[val_losses[cell.activation.name, cell.rate, cell.seed] for cell in cells_of(spec)],
    )


def _start_worker(start: Barrier, spec: ExperimentSpec, workshop: Workshop) -> None:
    import torch

    torch.set_num_threads(1)
    train_job(*_warm_up(spec), workshop)
    start.wait(START_TIMEOUT_S)


def _warm_up(spec: ExperimentSpec) -> tuple[ExperimentSpec, PlannedJob]:
    """A spec of two batches with a job of it: torch imports and allocates what it needs on the first step."""
    num_rows = WARM_UP_BATCHES * spec.training.batch_size
    sizes = {name: min(num_rows, getattr(spec.dataset, name)) for name in ("train_size", "val_size")}
    training = spec.training.model_copy(update={"epochs": 1})
    small = {"dataset": spec.dataset.model_copy(update=sizes), "training": training, "num_seeds": 1}
    small_spec = spec.model_copy(update=small)
    return small_spec, plan(small_spec).jobs[0]


def train_job(spec: ExperimentSpec, job: PlannedJob, workshop: Workshop) -> JobRun:
    """Train one job in this process."""
    from shared.training.engine import Engines
    from shared.training.population import Member
    from shared.training.toolchain import Toolchain

    began = time.perf_counter()
    (activation,) = (each for each in spec.activations if each.name == job.activation)
    members = [Member(run.rate, run.seed) for run in job.runs]
    engines = Engines(toolchain=Toolchain(workshop.compiled_dir), datasets_dir=workshop.datasets_dir)
    chosen = spec.model_copy(update={"training": spec.training.model_copy(update={"engine": workshop.engine})})
    numerics = engines.decide(chosen, activation, members)
    population = engines.build(chosen, activation, members, numerics)
    loaded = time.perf_counter()
    losses: list[list[float]] = [[] for _ in members]
    while not population.finished:
        for record in population.advance() or ():
            losses[record.member].append(record.val_loss)
    names = [(job.activation, member.rate, member.seed) for member in members]
    return JobRun(
        process_id=os.getpid(),
        load_s=loaded - began,
        train_s=time.perf_counter() - loaded,
        peak_memory_mib=peak_memory_mib(),
        val_losses=dict(zip(names, losses, strict=True)),
    )
