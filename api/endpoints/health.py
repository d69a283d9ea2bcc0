"""Whether the service is alive, and whether it can work."""

from fastapi import APIRouter

from api import schemas
from api.deps import NoParameters, TheParts
from api.openapi import problems

router = APIRouter(tags=["health"], dependencies=[NoParameters])


@router.get(
    "/healthz", summary="Is the process alive?",
    responses=problems(422),
)  # fmt: skip
def get_health() -> schemas.Alive:
    """Answers as long as the process does; it asks neither the database nor the broker."""
    return schemas.Alive(status="ok")


@router.get(
    "/readyz", summary="Can it work?", response_model_exclude_unset=True,
    responses=problems(422),
)  # fmt: skip
def get_readiness(parts: TheParts) -> schemas.Readiness:
    """`degraded` while the broker is away: experiments are taken, and start once it is back. 503 without a database."""
    parts.database.ping()
    if parts.broker.answers():
        return schemas.Readiness(status="ok")
    return schemas.Readiness(
        status="degraded", reason="the broker does not answer; experiments are taken and start once it is back"
    )
