"""Submissions for minutes on end; then everything must be drained, and nothing may have grown or been left behind."""

import asyncio
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from sqlalchemy import func, select

from benchmarks.load.processes import Stack
from benchmarks.load.scenario import post_for
from benchmarks.load.traffic import Traffic
from shared.store.checkpoints import CheckpointStore
from shared.store.db import Database
from shared.store.states import ExperimentState
from shared.store.tables import Experiment

SAMPLE_S = 10.0
DRAIN_TIMEOUT_S = 300.0
# Until caches are full: statements, answers, what libraries load when they are first used.
WARM_UP = 0.2
# A training process grows by 100 MiB with its first job, which comes once its code is compiled.
WARM_UP_SAMPLES = 6
FEWEST_SAMPLES = 5
MOST_GROWTH = 0.10
# A pool that grows by another connection is no leak, nor is a process of 20 MiB that needs two more.
ALLOWANCE_MIB = 5.0


def soak(stack: Stack, database_url: str, data_dir: Path, *, minutes: float, rate: float) -> list[str]:
    """Post `rate` experiments a second; what is wrong at the end."""
    sampler = _Sampler(stack)
    outcome = asyncio.run(Traffic(stack.url).send_at(rate, 60 * minutes, post_for("soak")))
    samples = sampler.stop()
    problems = [f"{count} x {error}" for error, count in outcome.errors.items()]
    problems += [f"'{name}' has ended" for name in stack.dead()]
    problems += _drain(database_url, num_posted=len(outcome.latencies_ms) - outcome.errors.total())
    problems += [
        f"checkpoints were left behind: {name}" for name in CheckpointStore(data_dir / "checkpoints").job_ids()
    ]
    return problems + _growth(samples)


class _Sampler:
    """The memory of every process, again and again, from a thread."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._samples: list[Mapping[str, float]] = []
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> list[Mapping[str, float]]:
        """All samples."""
        self._stop.set()
        self._thread.join()
        return self._samples

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            try:
                self._samples.append(self._stack.memory_mib())
            except psutil.NoSuchProcess as error:
                print(f"a process has gone: {error}", flush=True)


def _drain(database_url: str, *, num_posted: int) -> list[str]:
    """Wait until every experiment has succeeded."""
    database = Database(database_url)
    deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
    while True:
        with database.read() as session:
            query = select(Experiment.state, func.count()).group_by(Experiment.state)
            states = dict(session.execute(query).all())
        if states == {ExperimentState.SUCCEEDED: num_posted} or time.monotonic() > deadline_s:
            break
        time.sleep(1)
    database.close()
    print(f"{num_posted} experiments posted; in the end: {states}")
    return [] if states == {ExperimentState.SUCCEEDED: num_posted} else [f"not drained: {states} of {num_posted}"]


def _growth(samples: Sequence[Mapping[str, float]]) -> list[str]:
    """Medians of the first and the last fifth of what was sampled after the warm-up."""
    warm = samples[max(WARM_UP_SAMPLES, int(WARM_UP * len(samples))) :]
    if len(warm) < FEWEST_SAMPLES:
        return ["too short to judge memory: soak for two minutes at least"]
    fifth = max(1, len(warm) // 5)
    problems = []
    for name in warm[-1]:
        first, last = (
            statistics.median(each[name] for each in part if name in each) for part in (warm[:fifth], warm[-fifth:])
        )
        print(f"memory of {name}: {first:.1f} MiB, {last:.1f} MiB in the end ({last / first - 1:+.1%})")
        if last - first > max(MOST_GROWTH * first, ALLOWANCE_MIB):
            problems.append(f"the memory of {name} grew by {last / first - 1:.0%}")
    return problems
