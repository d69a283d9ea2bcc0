"""Whether the service is alive, and whether it can work."""

from fastapi import APIRouter

from api import schemas
from api.deps import NoParameters, TheParts
from api.openapi import problems
from shared.store.monitoring import complaints
from shared.store.schema import require_schema

router = APIRouter(tags=["health"], dependencies=[NoParameters])


@router.get(
    "/healthz", summary="Is the process alive?",
    responses=problems(422),
)  # fmt: skip
async def get_health() -> schemas.Alive:
    """Answers as long as the process does; it asks neither the database nor the broker."""
    return schemas.Alive(status="ok")


@router.get(
    "/readyz", summary="Can it work?", response_model_exclude_unset=True,
    responses=problems(422),
)  # fmt: skip
def get_readiness(parts: TheParts) -> schemas.Readiness:
    """`degraded` with the reasons while experiments are taken but would not start, or not go on after a loss.

    That is while the broker is away, no worker or no reconciler is alive, or jobs of lost workers are not taken back.
    503 without a database, or with one whose tables are older than this code.
    """
    with parts.database.read() as session:
        newer = require_schema(session)
        reasons = complaints(session, parts.settings)
    if not parts.broker.answers():
        reasons.insert(0, "the broker does not answer; experiments are taken and start once it is back")
    if newer is not None:
        reasons.append(f"the database's tables are of revision {newer}, which this process does not know: upgrade it")
    if not reasons:
        return schemas.Readiness(status="ok")
    return schemas.Readiness(status="degraded", reason="; ".join(reasons))
