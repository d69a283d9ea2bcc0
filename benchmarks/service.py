"""What the service costs beside training: memory when idle, time of a POST and of the comparison.

Everything is measured over HTTP against a service of its own: `actrobust serve` in an empty folder.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psutil

PRESET = {"preset": "harrison-multivariate"}
NUM_REQUESTS = 30
POLL_S = 1.0
START_TIMEOUT_S = 60.0
# All training processes have announced themselves by then.
SETTLE_S = 3.0


@contextmanager
def running_service(data_dir: Path, datasets_dir: Path | None = None) -> Iterator[tuple[httpx2.Client, psutil.Process]]:
    """A service of our own, and its first process."""
    command = [sys.executable, "-m", "actrobust", "serve", "--port", "0", "--data-dir", str(data_dir)]
    settings = {} if datasets_dir is None else {"ACTROBUST_DATASETS_DIR": str(datasets_dir)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **settings}
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
                yield http, psutil.Process(process.pid)
        finally:
            process.terminate()


def wait_for_workers(http: httpx2.Client, service: psutil.Process) -> None:
    """Until every core has its training process."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while len(_training_processes(service)) < (os.cpu_count() or 1) and time.monotonic() < deadline:
        http.get("/healthz").raise_for_status()
        time.sleep(0.1)
    time.sleep(SETTLE_S)


def _training_processes(service: psutil.Process) -> list[psutil.Process]:
    """Children of the worker: processes below a child of the service."""
    return [grandchild for child in service.children() for grandchild in child.children()]


def worker_memory_mib(service: psutil.Process) -> list[float]:
    """Peak of resident memory of each training process (Linux only)."""
    peaks = []
    for process in _training_processes(service):
        status = Path(f"/proc/{process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        peaks.append(int(line.split()[1]) / 1024)
    return peaks


def final_losses(http: httpx2.Client, experiment_id: str) -> list[float]:
    """Last validation loss of every run, by activation, seed and rate."""
    rows: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        query: dict[str, str | int] = {"page_size": 1000}
        query |= {} if token is None else {"page_token": token}
        page = http.get(f"/experiments/{experiment_id}/runs", params=query).raise_for_status().json()
        rows += page["items"]
        token = page.get("next_page_token")
        if token is None:
            break
    return [row["metrics"]["val_loss"] for row in rows]


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


def finish(http: httpx2.Client, spec: Mapping[str, Any] = PRESET) -> tuple[str, float]:
    """The id of an experiment, and the seconds from its POST to the end that is stamped on it.

    Asking often would be work for the cores that train.
    """
    start = datetime.now(UTC)
    experiment: dict[str, Any] = http.post("/experiments", json=spec).raise_for_status().json()
    path = f"/experiments/{experiment['id']}"
    while experiment["state"] not in {"succeeded", "failed"}:
        time.sleep(POLL_S)
        experiment = http.get(path).raise_for_status().json()
    assert experiment["state"] == "succeeded", experiment["error"]
    return experiment["id"], (datetime.fromisoformat(experiment["finished_at"]) - start).total_seconds()


def measure() -> dict[str, float]:
    """All figures by name; the name ends with the unit."""
    with tempfile.TemporaryDirectory(prefix="actrobust-bench-") as folder, running_service(Path(folder)) as service:
        http, process = service
        wait_for_workers(http, process)
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
