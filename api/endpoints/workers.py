"""Who trains."""

from fastapi import APIRouter

from api import schemas
from api.auth import Owner
from api.deps import NoParameters, TheParts
from api.openapi import problems
from shared.store import monitoring, tables

router = APIRouter(tags=["health"], dependencies=[NoParameters])

# Ids begin with the time of their making, which is another column; their end tells them apart.
ID_LENGTH = 12


@router.get("/workers", summary="List live workers", responses=problems(422))
def list_workers(parts: TheParts, owner: Owner) -> schemas.Workers:
    """The training processes that are alive, the oldest first. One whose job is another owner's is just busy."""
    with parts.database.read() as session:
        workers, works = monitoring.live_workers(session), monitoring.work_in_hand(session)
    return schemas.Workers(items=[_document(worker, works.get(worker.id), owner) for worker in workers])


def _document(worker: tables.Worker, work: monitoring.Work | None, owner: str) -> schemas.Worker:
    job = None
    if work is not None and work.owner == owner:
        job = schemas.WorkerJob(id=work.job_id, experiment_id=work.experiment_id, activation=work.activation)
    return schemas.Worker(
        id=worker.id[-ID_LENGTH:], device=worker.device, slots=worker.slots, started_at=worker.started_at,
        heartbeat_at=worker.heartbeat_at, state="idle" if work is None else "busy", job=job,
    )  # fmt: skip
