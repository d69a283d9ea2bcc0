"""What the service costs beside training: memory when idle, time of a POST and of the comparison.

Everything is measured over HTTP against a service of its own: `actrobust serve` in an empty folder.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psutil

PRESET = {"preset": "harrison-multivariate"}
NUM_REQUESTS = 30


@contextmanager
def running_service() -> Iterator[tuple[httpx2.Client, psutil.Process]]:
    """A service of our own, and its first process."""
    with tempfile.TemporaryDirectory(prefix="actrobust-bench-") as folder:
        command = [sys.executable, "-m", "actrobust", "serve", "--port", "0", "--data-dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            try:
                url = process.stdout.readline().split()[-1]
                with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
                    yield http, psutil.Process(process.pid)
            finally:
                process.terminate()


def median_ms(action: Callable[[], Any], *, times: int = NUM_REQUESTS) -> float:
    """Median milliseconds of an action."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        durations.append(1000 * (time.perf_counter() - start))
    return statistics.median(durations)


def idle_memory_mib(service: psutil.Process) -> float:
    """Resident memory of all processes together; pages that they share count once for each."""
    processes = [service, *service.children(recursive=True)]
    return float(sum(process.memory_info().rss for process in processes)) / 2**20


def proportional_memory_mib(service: psutil.Process) -> float:
    """The same with shared pages counted once (Linux only)."""
    processes = [service, *service.children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in processes)) / 2**20


def post_and_cancel(http: httpx2.Client) -> float:
    """Median milliseconds of a POST of the default preset; each experiment is cancelled at once, off the clock."""
    durations = []
    for _ in range(NUM_REQUESTS):
        start = time.perf_counter()
        experiment = http.post("/experiments", json=PRESET).raise_for_status().json()
        durations.append(1000 * (time.perf_counter() - start))
        http.post(f"/experiments/{experiment['id']}/cancel").raise_for_status()
    return statistics.median(durations)


def finish(http: httpx2.Client) -> tuple[str, float]:
    """The id of an experiment with the default preset, and the seconds from its POST to its end."""
    start = time.perf_counter()
    experiment_id: str = http.post("/experiments", json=PRESET).raise_for_status().json()["id"]
    while (state := http.get(f"/experiments/{experiment_id}").json()["state"]) not in {"succeeded", "failed"}:
        time.sleep(0.2)
    assert state == "succeeded", state
    return experiment_id, time.perf_counter() - start


def measure() -> dict[str, float]:
    """All figures by name; the name ends with the unit."""
    with running_service() as (http, process):
        time.sleep(5)  # all training processes have announced themselves by then
        figures = {"idle_rss_mib": idle_memory_mib(process)}
        if sys.platform == "linux":
            figures["idle_pss_mib"] = proportional_memory_mib(process)
        figures["post_default_preset_ms"] = post_and_cancel(http)
        experiment_id, figures["default_preset_s"] = finish(http)
        path = f"/experiments/{experiment_id}"
        figures["get_experiment_ms"] = median_ms(lambda: http.get(path).raise_for_status())
        figures["robustness_ms"] = median_ms(lambda: http.get(f"{path}/robustness").raise_for_status())
        everything = f"{path}/robustness?include=curves,raw"
        figures["robustness_with_curves_ms"] = median_ms(lambda: http.get(everything).raise_for_status())
        figures["metrics_csv_ms"] = median_ms(lambda: http.get(f"{path}/metrics?format=csv").raise_for_status())
    return figures
