"""Runs a command of the service with traps at named steps: `python -m tests.faults.sabotage worker --processes 1`.

The command and everything below it are the real ones; this module only puts a question before and after what they do:
whether a trap lies there. Steps are `before NAME` and `after NAME` a transaction's commit (NAME is the function of
`shared.store.queue` that ran in it, or `post`), a checkpoint's files, or a message. The environment names the folder
of the traps and the part of the stack.
"""

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import actrobust.commands
from shared.store import checkpoints, doorbell, queue, repository
from shared.store.checkpoints import CheckpointStore
from shared.store.db import Database
from shared.store.queue import Lease
from shared.store.tables import Job
from tests.faults import audit
from tests.faults.traps import Steps, stop_this_process

FOLDER, PART, PRELOAD = "ACTROBUST_FAULTS_TRAPS", "ACTROBUST_FAULTS_PART", "ACTROBUST_FAULTS_PRELOAD"

# A worker's transactions. Those of the heartbeat are `renew`.
LEASED = (
    "mark_running", "renew", "fix_numerics", "describe_runs", "commit_epoch", "save_checkpoint", "rewind", "complete",
    "fail", "release", "confirm_cancelled",
)  # fmt: skip


class _Transaction(threading.local):
    """What this thread is about to commit."""

    step: str | None = None
    depth: int = 0


_transaction = _Transaction()


class _Open:
    """How many transactions of this process are open. One stopped within would keep SQLite's lock, from everybody."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._changed:
            self._number += 1
        try:
            yield
        finally:
            with self._changed:
                self._number -= 1
                self._changed.notify_all()

    def stop_process_between(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._number == 0)
            stop_this_process()


_open = _Open()


def main() -> None:
    """Set the questions, then be the command."""
    steps = Steps(Path(os.environ[FOLDER]), os.environ[PART])
    steps.stop = _open.stop_process_between
    _ask_around_commits(steps)
    _name_transactions(steps)
    _ask_around_files(steps)
    _ask_around_messages(steps)
    if sys.argv[1] == "worker" and os.environ.get(PRELOAD):
        _load_torch()
    actrobust.commands.main()


def _load_torch() -> None:
    """Load what a training process loads, in its parent: in place of a killed one the next trains at once.

    In production the parent loads nothing of it. Nothing is computed before the fork, so that there are no threads.
    """
    import torch._dynamo  # noqa: F401 (the first optimiser would)

    import worker.training_job  # noqa: F401


def _ask_around_commits(steps: Steps) -> None:
    real = Database.write

    @contextmanager
    def write(self: Database) -> Iterator[Session]:
        _transaction.step = None
        with _open.counted(), real(self) as session:
            yield session
            step = _transaction.step
            if step:
                steps.reach(f"before {step}")
        if step:
            steps.reach(f"after {step}")

    Database.write = write  # type: ignore[method-assign]


def _name_transactions(steps: Steps) -> None:
    for name in LEASED:
        setattr(queue, name, _leased(name, getattr(queue, name)))
    for module, name, step in ((queue, "reap", "reap"), (repository, "create_experiment", "post")):
        setattr(module, name, _named(step, getattr(module, name)))
    queue.claim = _claim(steps, queue.claim)


def _leased(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def call(session: Session, lease: Lease, *arguments: Any, **options: Any) -> Any:
        _transaction.depth += 1
        try:
            result = real(session, lease, *arguments, **options)
        finally:
            _transaction.depth -= 1
        # They call each other; the outermost names the transaction.
        if _transaction.depth == 0:
            _transaction.step = name
            if result is not False:
                audit.note_write(session, lease, name)
        return result

    return call


def _named(step: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def call(*arguments: Any, **options: Any) -> Any:
        _transaction.step = step
        return real(*arguments, **options)

    return call


def _claim(steps: Steps, real: Callable[..., Lease | None]) -> Callable[..., Lease | None]:
    @functools.wraps(real)
    def claim(session: Session, job_id: str, worker_id: str, *, devices: Sequence[str]) -> Lease | None:
        lease = real(session, job_id, worker_id, devices=devices)
        if lease is not None:
            steps.activation = session.scalar(select(Job.activation).where(Job.id == job_id))
            _transaction.step = "claim"
        return lease

    return claim


def _ask_around_files(steps: Steps) -> None:
    write_durably, replace = checkpoints._write_durably, Path.replace

    def write(path: Path, content: bytes) -> None:
        try:
            steps.reach("before checkpoint")
        except OSError:
            path.with_suffix(".tmp").write_bytes(content[: len(content) // 2])  # what a full disk leaves
            raise
        write_durably(path, content)

    def replace_checkpoint(self: Path, target: str | os.PathLike[str]) -> Path:
        is_checkpoint = str(target).endswith(".safetensors")
        if is_checkpoint:
            steps.reach("before replace")
        moved = replace(self, target)
        if is_checkpoint:
            steps.reach("after replace")
        return moved

    checkpoints._write_durably = write
    Path.replace = replace_checkpoint  # type: ignore[method-assign,assignment]
    for name in ("keep_only", "remove"):
        setattr(CheckpointStore, name, _around(steps, name, getattr(CheckpointStore, name)))


def _around(steps: Steps, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def call(*arguments: Any, **options: Any) -> Any:
        steps.reach(f"before {name}")
        result = real(*arguments, **options)
        steps.reach(f"after {name}")
        return result

    return call


def _ask_around_messages(steps: Steps) -> None:
    doorbell._ring = _around(steps, "message", doorbell._ring)


if __name__ == "__main__":
    main()
