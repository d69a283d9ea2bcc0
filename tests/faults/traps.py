"""Traps: files that say what shall befall a process at which step. The suite sets them, processes spring them.

A trap is a file of a folder that both sides know, so that it can be set while the processes run, and outlives them.
"""

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from shared.errors import ServiceUnavailableError

LONGEST_PAUSE_S = 60.0


class Action(StrEnum):
    """What befalls a process."""

    KILL = "kill"
    KILL_WITH_PARENT = "kill with parent"
    STOP = "stop"
    FULL_DISK = "full disk"
    LOST_ANSWER = "lost answer"
    PAUSE = "pause"


@dataclass(frozen=True)
class Trap:
    """What shall happen to a process when it reaches a step the n-th time since it first met the trap.

    Args:
        activation: only while it trains this one.
        part: only in this part of the stack.
        lasting: every time from then on, in every process; otherwise once.
    """

    step: str
    action: Action = Action.KILL
    number: int = 1
    activation: str | None = None
    part: str | None = None
    lasting: bool = False


class SetTrap:
    """A trap in its place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def sprung(self) -> bool:
        """Whether it has caught a process."""
        return self.path.with_suffix(".sprung").exists()

    def wait(self, timeout_s: float = 45.0) -> None:
        """Wait until it has caught a process."""
        deadline = time.monotonic() + timeout_s
        while not self.sprung:
            assert time.monotonic() < deadline, f"nothing came by: {self.path.read_text()}"
            time.sleep(0.01)

    def release(self) -> None:
        """Let a paused process go on."""
        self.path.with_suffix(".released").touch()

    def remove(self) -> bool:
        """Take it away; whether it was still waiting."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    @property
    def caught(self) -> int:
        """The id of the process that it caught."""
        return int(self.path.with_suffix(".sprung").read_text())


class Traps:
    """The suite's side of the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._number = 0

    def set(self, trap: Trap) -> SetTrap:
        """Put a trap in its place; processes see it whole or not at all."""
        self._number += 1
        path = self.folder / f"{self._number:05d}.json"
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(asdict(trap)))
        unfinished.replace(path)
        return SetTrap(path)

    def remove_all(self) -> None:
        """Take away every trap that still waits, and let paused processes go on."""
        for path in self.folder.glob("*.json"):
            path.unlink(missing_ok=True)
        for path in self.folder.glob("*.sprung"):
            path.with_suffix(".released").touch()


class Steps:
    """A sabotaged process's side of the folder."""

    def __init__(self, folder: Path, part: str) -> None:
        self.folder, self.part = folder, part
        self.activation: str | None = None
        self.stop: Callable[[], None] = stop_this_process
        self._met: dict[str, int] = {}

    def reach(self, step: str) -> None:
        """Tell that this process is at a step; what happens then is the trap's business."""
        for path in sorted(self.folder.glob("*.json")):
            trap = _read(path)
            if trap is None or trap.step != step or not self._is_meant(trap):
                continue
            self._met[path.name] = self._met.get(path.name, 0) + 1
            if self._met[path.name] >= trap.number and _take(path, trap):
                self._spring(path, trap)

    def _spring(self, path: Path, trap: Trap) -> None:
        if trap.action is Action.STOP:
            self.stop()
        else:
            _spring(path, trap)

    def _is_meant(self, trap: Trap) -> bool:
        return trap.activation in {None, self.activation} and trap.part in {None, self.part}


def stop_this_process() -> None:
    """Stop until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _read(path: Path) -> Trap | None:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return Trap(**{**document, "action": Action(document["action"])})


def _take(path: Path, trap: Trap) -> bool:
    """Whether the trap is this process's: one that springs once goes to whoever removes it."""
    if not trap.lasting:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
    # The suite reads it as soon as it is there.
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(str(os.getpid()))
    unfinished.replace(path.with_suffix(".sprung"))
    return True


def _spring(path: Path, trap: Trap) -> None:
    if trap.action is Action.KILL_WITH_PARENT:
        os.kill(os.getppid(), signal.SIGKILL)
    if trap.action in {Action.KILL, Action.KILL_WITH_PARENT}:
        os.kill(os.getpid(), signal.SIGKILL)
    if trap.action is Action.FULL_DISK:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if trap.action is Action.LOST_ANSWER:
        raise ServiceUnavailableError("the database closed the connection")
    if trap.action is Action.PAUSE:
        _pause(path.with_suffix(".released"))


def _pause(released: Path) -> None:
    deadline = time.monotonic() + LONGEST_PAUSE_S
    while not released.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
