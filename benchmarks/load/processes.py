"""A service of our own in real processes: broker, API, worker, reconciler, on private addresses."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from actrobust.commands.broker import broker_program, wait_until_it_answers
from actrobust.commands.supervisor import Child, Program, own_command, own_environment
from shared.store.db import upgrade

START_TIMEOUT_S = 60.0
GRACE_S = 60.0
NUM_SLOTS = 2


@dataclass(frozen=True)
class Stack:
    """The processes of a running service by name, and where it answers."""

    url: str
    parts: Mapping[str, Child]

    def memory_mib(self) -> dict[str, float]:
        """Resident memory of each process; the worker's children, which train, are numbered."""
        found = {}
        for name, child in self.parts.items():
            for number, process in enumerate(_family(child.pid)):
                found[f"{name}, child {number}" if number else name] = process.memory_info().rss / 2**20
        return found

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds that each part has used, its children included; much the same on a busy machine."""
        return {name: sum(_cpu_s(each) for each in _family(child.pid)) for name, child in self.parts.items()}

    def dead(self) -> list[str]:
        """Parts that have ended."""
        return [name for name, child in self.parts.items() if child.exit_code() is not None]


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """The URL of an empty broker on a socket; the path of `folder` must be short."""
    socket_path = folder / "broker.sock"
    child = Child(broker_program(socket_path, log=folder / "broker.log"))
    try:
        assert wait_until_it_answers(socket_path, timeout_s=START_TIMEOUT_S)
        yield f"redis+socket://{socket_path}"
    finally:
        child.end(grace_s=5)


@contextmanager
def running_stack(folder: Path, database_url: str, *, num_apis: int = 1) -> Iterator[Stack]:
    """All parts, on a database that is brought up to date before; they end with the block."""
    upgrade(database_url)
    with broker(folder) as broker_url, ExitStack() as started:
        environment = _environment(folder, database_url, broker_url)
        parts: dict[str, Child] = {}
        commands = {
            "api": ("api", "--port", "0", "--processes", str(num_apis)),
            "worker": ("worker", "--processes", str(NUM_SLOTS)),
            "reconciler": ("reconciler",),
        }
        for name, arguments in commands.items():
            child = Child(Program(name, own_command(*arguments), folder / f"{name}.log", environment))
            started.callback(child.end, grace_s=GRACE_S)
            parts[name] = child
        yield Stack(_address(parts["api"]), parts)


def _environment(folder: Path, database_url: str, broker_url: str) -> dict[str, str]:
    settings = {
        "DATABASE_URL": database_url, "BROKER_URL": broker_url, "DATA_DIR": str(folder / "data"),
        "MAX_REQUESTS_PER_MINUTE": "1000000", "MAX_WAITING_EXPERIMENTS": "1000000",
    }  # fmt: skip
    # Those of the caller must not reach our service: an empty variable counts as unset.
    foreign = {name: "" for name in os.environ if name.startswith("ACTROBUST_")}
    return {**own_environment(), **foreign, **{f"ACTROBUST_{name}": value for name, value in settings.items()}}


def _address(api: Child) -> str:
    """The address in the line `listening on http://...`."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and api.exit_code() is None:
        for line in api.last_lines():
            if "listening on " in line:
                return line.split("listening on ")[1].strip()
        time.sleep(0.1)
    raise AssertionError("the API did not start:\n" + "\n".join(api.last_lines()))
