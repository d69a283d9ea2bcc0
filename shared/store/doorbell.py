"""The doorbell: Celery messages that tell workers which jobs wait. Losing one loses nothing but time.

The jobs table is the truth. A job is `dispatched` once its message was sent; the reconciler sends again what nobody
answered while a worker was idle, so the broker may forget everything at any time.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import structlog
from celery import Celery
from sqlalchemy import Select, func, literal, select, union_all, update
from sqlalchemy.orm import Session

from shared.settings import Settings
from shared.store.db import Database
from shared.store.rows import changed_rows, unindexed
from shared.store.states import LEASED_JOB, WAITING_JOB, JobState
from shared.store.tables import Job, Worker
from shared.store.types import ago, now

log = structlog.get_logger(__name__)

TRAIN_TASK = "actrobust.train"
QUEUES = {"any": "actrobust.any", "cuda": "actrobust.cuda"}

# A worker that has not been heard of for this long offers no slots.
WORKER_SILENCE_S = 30.0
# A message that an idle worker has not answered by then is lost.
UNANSWERED_S = 5.0


def queues_of(worker_device: str) -> tuple[str, ...]:
    """The kinds of job that a worker takes: one with a GPU also those that ask for it."""
    return ("any", "cuda") if worker_device == "cuda" else ("any",)


@lru_cache(maxsize=4)
def celery_app(broker_url: str) -> Celery:
    """The Celery application of a broker: JSON only, early acknowledgement, no result backend."""
    app = Celery("actrobust", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        task_default_queue=QUEUES["any"],
        task_create_missing_queues=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": 2,
            "socket_timeout": 10,
            # A broker that is away shall be found out at once: the reconciler tries again anyway.
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
        },
        task_publish_retry=False,
    )
    return app


def dispatch(database: Database, settings: Settings) -> int:
    """Send messages for waiting jobs, at most about twice the worker slots outstanding; the number sent.

    A broker that is away is logged and otherwise ignored: the jobs stay pending.
    """
    with database.write() as session:
        jobs = [
            job
            for device in _devices_asked_for(session)
            for take in (_take_pending, _take_unanswered)
            for job in take(session, device)
        ]
    for position, (job_id, device) in enumerate(jobs):
        try:
            _ring(settings, job_id, device)
        except Exception as error:  # noqa: BLE001 (whatever the broker's client raises, the job must go back)
            log.warning("broker away, jobs stay pending", error=str(error), jobs=len(jobs) - position)
            _put_back(database, [job_id for job_id, _ in jobs[position:]])
            return position
    return len(jobs)


def _devices_asked_for(session: Session) -> list[str]:
    """The kinds of job of which any waits: most services never see one that asks for a GPU."""
    waiting = (
        select(literal(device)).where(
            select(Job.id).where(Job.state.in_(WAITING_JOB), Job.device == device).limit(1).exists()
        )
        for device in QUEUES
    )
    return list(session.scalars(union_all(*waiting)))


def _ring(settings: Settings, job_id: str, device: str) -> None:
    app = celery_app(settings.effective_broker_url)
    # Celery's own lines about a message shall name the job.
    app.send_task(TRAIN_TASK, args=[job_id], task_id=job_id, queue=QUEUES[device], retry=False, ignore_result=True)


def _workers_for(device: str) -> Select[str]:
    """Ids of the processes that are alive and take such jobs; those with a GPU take all."""
    alive = select(Worker.id).where(Worker.heartbeat_at > ago(WORKER_SILENCE_S))
    return alive.where(Worker.device == "cuda") if device == "cuda" else alive


def _slots(session: Session, device: str) -> int:
    slots = select(func.coalesce(func.sum(Worker.slots), 0)).where(Worker.id.in_(_workers_for(device)))
    return session.scalar(slots) or 0


def _take_pending(session: Session, device: str) -> list[tuple[str, str]]:
    dispatched = select(func.count()).where(Job.state == JobState.DISPATCHED, Job.device == device)
    room = 2 * max(1, _slots(session, device)) - (session.scalar(dispatched) or 0)
    if room <= 0:
        return []
    waiting = select(Job.id).where(Job.state == JobState.PENDING, Job.device == device).order_by(Job.id).limit(room)
    return _mark_dispatched(session, waiting.with_for_update(skip_locked=True), JobState.PENDING)


def _take_unanswered(session: Session, device: str) -> list[tuple[str, str]]:
    busy = select(func.count()).where(Job.state.in_(LEASED_JOB))
    if device == "cuda":
        busy = busy.where(Job.worker_id.in_(_workers_for(device)))
    idle = _slots(session, device) - (session.scalar(busy) or 0)
    if idle <= 0:
        return []
    waiting = (
        select(Job.id)
        .where(Job.state == JobState.DISPATCHED, Job.device == device, Job.dispatched_at < ago(UNANSWERED_S))
        .order_by(Job.id)
        .limit(idle)
    )
    return _mark_dispatched(session, waiting.with_for_update(skip_locked=True), JobState.DISPATCHED)


@dataclass(frozen=True)
class Unanswered:
    """A job whose message nobody has answered yet."""

    job_id: str
    sent_at: datetime

    def is_another_message_than(self, before: "Unanswered") -> bool:
        """Whether it was sent again for the same job."""
        return self.job_id == before.job_id and self.sent_at > before.sent_at


def unanswered(session: Session, *, devices: Collection[str]) -> Unanswered | None:
    """The job of some kinds that is sent again first, if any is waiting for an answer."""
    query = select(Job.id, Job.dispatched_at).where(Job.state == JobState.DISPATCHED, Job.device.in_(devices))
    for job_id, sent_at in session.execute(query.order_by(Job.id).limit(1)):
        if sent_at is not None:
            return Unanswered(job_id, sent_at)
    return None


def _mark_dispatched(session: Session, query: Any, state: JobState) -> list[tuple[str, str]]:
    job_ids = list(session.scalars(query))
    if not job_ids:
        return []
    statement = (
        update(Job)
        .where(Job.id.in_(job_ids), unindexed(Job.state) == state)
        .values(state=JobState.DISPATCHED, dispatched_at=now())
        .returning(Job.id, Job.device)
    )
    marked = session.execute(statement, execution_options={"synchronize_session": False})
    return sorted((job_id, device) for job_id, device in marked)


def _put_back(database: Database, job_ids: list[str]) -> None:
    with database.write() as session:
        statement = update(Job).where(Job.id.in_(job_ids), unindexed(Job.state) == JobState.DISPATCHED)
        changed_rows(session, statement.values(state=JobState.PENDING, dispatched_at=None))


def broker_answers(settings: Settings) -> bool:
    """Whether the broker takes connections just now."""
    try:
        with celery_app(settings.effective_broker_url).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0.1, timeout=2)
    except Exception:  # noqa: BLE001 (each transport raises its own; the question has two answers)
        return False
    return True
