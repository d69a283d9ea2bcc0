"""What endpoints are given: the parts of the running service, and checked pieces of the request.

Those that wait for nothing are `async`: FastAPI runs any other function in a thread, which costs more than they do.
"""

from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Path, Query
from fastapi.requests import Request

from api import bodies
from api.answers import AnswerCache
from api.background import Bell, BrokerWatch
from api.queries import ClosedQuery
from api.rates import RateLimit
from api.streams import Streams
from shared.settings import Settings
from shared.store.db import Database


@dataclass(frozen=True)
class Parts:
    """What lives as long as the process."""

    settings: Settings
    database: Database
    bell: Bell
    broker: BrokerWatch
    answers: AnswerCache
    rate_limit: RateLimit
    streams: Streams


def parts_of(request: Request) -> Parts:
    """The parts of the service that a request came to."""
    return cast(Parts, request.app.state.parts)


async def _parts(request: Request) -> Parts:
    return parts_of(request)


async def _experiment_id(experiment_id: Annotated[UUID, Path(description="The experiment.")]) -> str:
    return str(experiment_id)


async def _body(request: Request) -> bytes:
    return await bodies.read_body(request, parts_of(request).settings.max_body_bytes)


class _NoQuery(ClosedQuery):
    """The query of a call that takes none."""


async def _no_parameters(_query: Annotated[_NoQuery, Query()]) -> None:
    """FastAPI itself ignores parameters that a call does not know."""


TheParts = Annotated[Parts, Depends(_parts)]
ExperimentId = Annotated[str, Depends(_experiment_id)]
Body = Annotated[bytes, Depends(_body)]
NoParameters = Depends(_no_parameters)
