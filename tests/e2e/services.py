"""Real services for the end-to-end tests: real processes, found by what they print, stopped by the ids we started."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
# Short leases, so that a lost worker is found while a test waits.
QUICK = {
    "ACTROBUST_LEASE_TTL_S": "4",
    "ACTROBUST_RECONCILE_INTERVAL_S": "0.5",
    "ACTROBUST_CHECKPOINT_INTERVAL_S": "0.5",
}


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """The environment of a process of ours: none of the caller's settings, no proxy."""
    foreign = {name for name in os.environ if name.startswith("ACTROBUST_") or name.lower().endswith("_proxy")}
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**inherited, "ACTROBUST_DATA_DIR": str(data_dir), **QUICK, **settings}


@contextmanager
def command(*arguments: str, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A running `actrobust` command; asked to end at the end, killed with its children if it does not."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "actrobust", *arguments],
            env=dict(env), stdout=subprocess.PIPE, stderr=errors, text=True, cwd=log.parent,
        )  # fmt: skip
        try:
            yield process
        finally:
            family = [process.pid, *(child.pid for child in _children(process.pid))]
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                for pid in family:
                    _kill(pid)
            assert process.stdout is not None
            process.stdout.close()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def url_printed_by(process: subprocess.Popen[str], log: Path) -> str:
    """The address in the line `listening on http://...`."""
    lines: queue.Queue[str] = queue.Queue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            continue
        if "listening on " in line:
            return line.split("listening on ")[1].strip()
    raise AssertionError(f"the service did not start:\n{log.read_text()[-3000:]}")


def training_processes() -> list[psutil.Process]:
    """The children of Celery workers below this test, those that train."""
    found = []
    for process in _children(os.getpid()):
        try:
            parent = process.parent()
            if parent is not None and "worker" in parent.cmdline()[2:] and "worker" in process.cmdline()[2:]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(http: httpx2.Client, experiment_id: str, *states: str, patience_s: float = 60.0) -> dict[str, Any]:
    """Poll an experiment until it is in one of the states; one at which nothing moves for so long has failed."""
    seen, deadline = None, 0.0
    while True:
        experiment: dict[str, Any] = http.get(f"/experiments/{experiment_id}").json()
        if experiment["state"] in states:
            return experiment
        now = (experiment["state"], experiment["progress"]["epochs_done"], experiment["progress"]["runs_finished"])
        if now != seen:
            seen, deadline = now, time.monotonic() + patience_s
        assert time.monotonic() < deadline, f"still {experiment['state']}: {experiment['progress']}"
        time.sleep(0.1)
