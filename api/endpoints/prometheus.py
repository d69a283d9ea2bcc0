"""Figures for Prometheus."""

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from api import examples
from api.deps import NoParameters
from api.openapi import problems

router = APIRouter(tags=["health"], dependencies=[NoParameters])

_TEXT = {"text/plain": {"schema": {"type": "string"}, "example": examples.PROMETHEUS}}


@router.get(
    "/metrics", summary="Figures for Prometheus", response_class=Response,
    responses={200: {"description": "Prometheus' text format.", "content": _TEXT}, **problems(422)},
)  # fmt: skip
def get_prometheus_metrics(request: Request) -> Response:
    """Request times of this API process, and the jobs, workers and counters of the whole service, a few seconds old.

    Every API process tells the same of the service, and of requests only what it answered itself.
    """
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
