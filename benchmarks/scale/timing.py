"""Durations of something done many times."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timing:
    """What was done and how long it took, in milliseconds; `cpu_ms` is the median of this process's own work."""

    name: str
    num_times: int
    median_ms: float
    p99_ms: float
    max_ms: float
    cpu_ms: float

    def line(self) -> str:
        """A row of a table."""
        numbers = (self.median_ms, self.p99_ms, self.max_ms, self.cpu_ms)
        return f"{self.name:44} {self.num_times:5}" + "".join(f" {number:9.2f}" for number in numbers)


HEADER = f"{'':44} {'times':>5} {'median':>9} {'p99':>9} {'max':>9} {'CPU':>9}  ms"


def timed(name: str, action: Callable[[], Any], *, times: int, between: Callable[[], Any] = lambda: None) -> Timing:
    """Do it once to warm up, then `times` times.

    Args:
        between: done after each time, off the clock.
    """
    durations, used = [], []
    for _ in range(times + 1):
        start, cpu_start = time.perf_counter(), time.process_time()
        action()
        durations.append(1000 * (time.perf_counter() - start))
        used.append(1000 * (time.process_time() - cpu_start))
        between()
    median, p99 = np.percentile(durations[1:], [50, 99])
    return Timing(name, times, float(median), float(p99), max(durations[1:]), float(np.median(used[1:])))
