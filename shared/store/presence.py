"""Which processes are alive, training processes and reconcilers: each writes a heartbeat, whether it works or waits."""

import os
import socket
from datetime import timedelta

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from shared.store.rows import changed_rows
from shared.store.tables import Worker
from shared.store.types import ago, now

FORGET_AFTER = timedelta(hours=1)
# The device of a process that trains nothing.
RECONCILER = "reconciler"


def announce(session: Session, worker_id: str, *, device: str) -> None:
    """Say that this process is alive and offers one slot, a reconciler none; also the first time."""
    statement = update(Worker).where(Worker.id == worker_id).values(heartbeat_at=now())
    if changed_rows(session, statement) == 0:
        session.add(
            Worker(
                id=worker_id, host=socket.gethostname(), pid=os.getpid(), device=device,
                slots=0 if device == RECONCILER else 1,
                started_at=now(), heartbeat_at=now(),
            )
        )  # fmt: skip


def leave(session: Session, worker_id: str) -> None:
    """Take back what this process offered."""
    changed_rows(session, delete(Worker).where(Worker.id == worker_id))


def alive(silence_s: float) -> Select[Worker]:
    """The training processes that were heard of within `silence_s`, the oldest first."""
    heard = select(Worker).where(Worker.heartbeat_at > ago(silence_s))
    return heard.where(Worker.device != RECONCILER).order_by(Worker.started_at, Worker.id)


def num_reconcilers(session: Session, silence_s: float) -> int:
    """How many reconcilers were heard of within `silence_s`."""
    heard = select(func.count()).where(Worker.device == RECONCILER, Worker.heartbeat_at > ago(silence_s))
    return session.scalar(heard) or 0


def forget_the_dead(session: Session) -> int:
    """Remove processes that have been silent for long; the number removed."""
    return changed_rows(session, delete(Worker).where(Worker.heartbeat_at < ago(FORGET_AFTER.total_seconds())))
