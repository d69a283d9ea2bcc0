"""What an operator watches: how much waits, who works, and what is wrong. Cheap also beside a hundred thousand jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.settings import Settings
from shared.store import counters, presence
from shared.store.doorbell import QUEUES, WORKER_SILENCE_S
from shared.store.queue import num_silent_jobs
from shared.store.states import LEASED_JOB, WAITING_JOB, ExperimentState, JobState
from shared.store.tables import Experiment, Job, Worker

# A reconciler that runs takes a job back within a sweep or two.
OVERDUE_S = 60.0


@dataclass(frozen=True)
class Figures:
    """The state of the whole service at one moment; what does not occur counts as 0."""

    jobs: dict[str, int]
    experiments: dict[str, int]
    queue_depth: dict[str, int]
    oldest_waiting_s: float
    slots: dict[str, int]
    slots_busy: int
    reconcilers: int
    jobs_overdue: int
    counters: dict[str, int]


@dataclass(frozen=True)
class Work:
    """A job in a worker's hands, and whose it is."""

    job_id: str
    experiment_id: str
    activation: str
    owner: str


def figures(session: Session, settings: Settings) -> Figures:
    """Count everything."""
    by_state_and_device = select(Job.state, Job.device, func.count()).group_by(Job.state, Job.device)
    jobs: dict[str, int] = dict.fromkeys(JobState, 0)
    queue_depth = dict.fromkeys(QUEUES, 0)
    for state, device, count in session.execute(by_state_and_device):
        jobs[state] += count
        if state in WAITING_JOB:
            queue_depth[device] += count
    workers = live_workers(session)
    slots = {device: sum(each.slots for each in workers if each.device == device) for device in ("cpu", "cuda")}
    return Figures(
        jobs=jobs, experiments=_experiments(session), queue_depth=queue_depth,
        oldest_waiting_s=_oldest_waiting_s(session), slots=slots,
        slots_busy=len(work_in_hand(session).keys() & {worker.id for worker in workers}),
        reconcilers=_num_reconcilers(session, settings), jobs_overdue=_num_overdue(session, settings),
        counters=counters.read(session),
    )  # fmt: skip


def _experiments(session: Session) -> dict[str, int]:
    by_state = select(Experiment.state, func.count()).where(Experiment.deleted_at.is_(None)).group_by(Experiment.state)
    return {**dict.fromkeys(ExperimentState, 0), **dict(session.execute(by_state).all())}


def _oldest_waiting_s(session: Session) -> float:
    """How long ago the oldest waiting job was posted; its id tells, as the order of ids does."""
    oldest: list[str] = []
    for state in WAITING_JOB:
        for device in QUEUES:
            first = select(Job.id).where(Job.state == state, Job.device == device).order_by(Job.id).limit(1)
            oldest += session.scalars(first).all()
    if not oldest:
        return 0.0
    posted_at_s = (UUID(min(oldest)).int >> 80) / 1000
    return max(0.0, datetime.now(UTC).timestamp() - posted_at_s)


def live_workers(session: Session) -> Sequence[Worker]:
    """The training processes that are alive, the oldest first."""
    return session.scalars(presence.alive(WORKER_SILENCE_S)).all()


def work_in_hand(session: Session) -> dict[str, Work]:
    """What each worker trains just now, by the worker's id."""
    leased = (
        select(Job.worker_id, Job.id, Job.experiment_id, Job.activation, Experiment.owner)
        .join(Experiment, Experiment.id == Job.experiment_id)
        .where(Job.state.in_(LEASED_JOB), Job.worker_id.is_not(None))
    )
    return {str(worker_id): Work(*work) for worker_id, *work in session.execute(leased)}


def _num_reconcilers(session: Session, settings: Settings) -> int:
    return presence.num_reconcilers(session, WORKER_SILENCE_S + 2 * settings.reconcile_interval_s)


def _num_overdue(session: Session, settings: Settings) -> int:
    return num_silent_jobs(session, settings.lease_ttl_s + OVERDUE_S)


def complaints(session: Session, settings: Settings) -> list[str]:
    """Why experiments would not start or not end although they are taken; a sentence each."""
    found = []
    if not live_workers(session):
        found.append("no worker is alive; experiments are taken and start once one is")
    if not _num_reconcilers(session, settings):
        found.append("no reconciler is alive; nobody takes back the jobs of lost workers")
    if overdue := _num_overdue(session, settings):
        found.append(f"{overdue} jobs of silent workers are overdue for being taken back")
    return found
