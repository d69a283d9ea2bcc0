"""Checkpoint files: written so that a crash at any moment leaves the one before intact, read only when their hash fits.

A file's name holds the token under which it was written; the database points at the two newest. The format is
safetensors: numbers only, nothing that could run when it is read.
"""

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from shared.store.queue import Lease

if TYPE_CHECKING:
    from torch import Tensor

log = structlog.get_logger(__name__)

NUM_KEPT = 2


class CheckpointStore:
    """The checkpoints of all jobs below one folder; workers that share jobs must share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, lease: Lease, state: Mapping[str, "Tensor"], *, epoch: int, number: int) -> dict[str, Any]:
        """Write a checkpoint; the pointer {file, sha256, epoch} that the database shall hold.

        Args:
            epoch: epochs that are complete in `state`.
            number: counts the checkpoints of this lease.
        Raises: OSError: the disk is full or away.
        """
        from safetensors.torch import save

        content = save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()})
        folder = self.folder / lease.job_id
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{lease.token:06d}-{number:08d}.safetensors"
        _write_durably(folder / name, content)
        return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "epoch": epoch}

    def load(self, job_id: str, pointers: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, "Tensor"]]:
        """The states that can still be read, newest first; a broken file is logged and passed over."""
        from safetensors.torch import load

        for pointer in pointers:
            path = self.folder / job_id / pointer["file"]
            try:
                content = path.read_bytes()
            except OSError as error:
                log.warning("checkpoint unreadable", job=job_id, file=pointer["file"], error=str(error))
                continue
            if hashlib.sha256(content).hexdigest() != pointer["sha256"]:
                log.warning("checkpoint broken", job=job_id, file=pointer["file"])
                continue
            yield load(content)

    def keep_only(self, job_id: str, pointers: Sequence[Mapping[str, Any]]) -> None:
        """Remove the files of a job that the database no longer points at."""
        kept = {pointer["file"] for pointer in pointers}
        folder = self.folder / job_id
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def job_ids(self) -> list[str]:
        """The jobs that have checkpoints here."""
        if not self.folder.is_dir():
            return []
        return [path.name for path in self.folder.iterdir() if _is_id(path.name)]

    def age_s(self, job_id: str) -> float:
        """How long nobody has touched a job's checkpoints; 0 when there are none any more."""
        try:
            return time.time() - (self.folder / job_id).stat().st_mtime
        except OSError:
            return 0.0

    def remove(self, job_id: str) -> None:
        """Remove all checkpoints of a job."""
        shutil.rmtree(self.folder / job_id, ignore_errors=True)


def _is_id(name: str) -> bool:
    try:
        uuid.UUID(name)
    except ValueError:
        return False
    return True


def _write_durably(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        # Half a checkpoint would keep a full disk full.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
