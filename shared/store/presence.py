"""Which training processes are alive: each writes a heartbeat, whether it trains or waits."""

import os
import socket
from datetime import timedelta

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from shared.store.rows import changed_rows
from shared.store.tables import Worker
from shared.store.types import ago, now

FORGET_AFTER = timedelta(hours=1)


def announce(session: Session, worker_id: str, *, device: str) -> None:
    """Say that this process is alive and offers one slot; also the first time."""
    statement = update(Worker).where(Worker.id == worker_id).values(heartbeat_at=now())
    if changed_rows(session, statement) == 0:
        session.add(
            Worker(
                id=worker_id, host=socket.gethostname(), pid=os.getpid(), device=device, slots=1,
                started_at=now(), heartbeat_at=now(),
            )
        )  # fmt: skip


def leave(session: Session, worker_id: str) -> None:
    """Take back what this process offered."""
    changed_rows(session, delete(Worker).where(Worker.id == worker_id))


def forget_the_dead(session: Session) -> int:
    """Remove processes that have been silent for long; the number removed."""
    return changed_rows(session, delete(Worker).where(Worker.heartbeat_at < ago(FORGET_AFTER.total_seconds())))
