"""The runs of an experiment."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from api import conditional, pages, schemas, service
from api.auth import Owner
from api.deps import ExperimentId, TheParts
from api.openapi import problems
from api.queries import MOST_CHOICES, Label, Rate, WholeNumber
from shared.store import repository, settled, tables
from shared.store.states import RunState

router = APIRouter(prefix="/experiments/{experiment_id}", tags=["results"])

TOKENS = pages.Tokens(tuple[WholeNumber])


class RunQuery(pages.PageQuery):
    """Which runs are listed; parameters that may be repeated hold alternatives."""

    activation: list[Label] = Field([], max_length=MOST_CHOICES, description="An activation's label.")
    rate: list[Rate] = Field([], max_length=MOST_CHOICES, description="Share of dirty rows; 0 is clean.")
    seed: list[WholeNumber] = Field([], max_length=MOST_CHOICES, description="Which trial, from 0.")
    state: list[RunState] = Field([], max_length=MOST_CHOICES, description="A state.")


@router.get(
    "/runs", summary="List runs", response_model=schemas.Runs,
    responses=problems(404, 422),
)  # fmt: skip
def list_runs(
    parts: TheParts, owner: Owner, experiment_id: ExperimentId, query: Annotated[RunQuery, Query()]
) -> Response:
    """A page of runs in the order of the plan, each with the metrics of its latest epoch."""
    listing = query.listing("runs", experiment_id)
    after = TOKENS.read(query.page_token, listing=listing)
    wanted = repository.RunFilter(query.activation, query.rate, query.seed, query.state)
    with parts.database.look() as session:
        mark = settled.mark_of(session, experiment_id, owner=owner)
    # Not an entity tag: the call has none. It names the page all the same.
    name = conditional.weak_tag(service.version(), mark, listing, after, query.page_size)
    known = parts.answers.get(name) if mark else None
    if known is not None:
        return Response(known, media_type="application/json")
    with parts.database.look() as session:
        found = repository.list_runs(
            session, experiment_id, wanted, limit=query.page_size + 1, after_position=after[0] if after else -1
        )
    shown, more = pages.split(found, query.page_size)
    token = TOKENS.write((shown[-1][0].position,), listing=listing) if more else None
    # As it is: FastAPI would take the documents apart and check every one again.
    body = pages.body([_document(*each).model_dump_json(exclude_unset=True).encode() for each in shown], token)
    if mark:
        parts.answers.put(name, body)
    return Response(body, media_type="application/json")


def _document(run: tables.Run, metrics: tables.EpochMetrics | None) -> schemas.Run:
    numbers = None
    if metrics is not None:
        numbers = schemas.Numbers.model_validate(metrics, from_attributes=True)
    return schemas.Run.model_validate({**_columns(run), "run_id": run.id, "metrics": numbers})


def _columns(run: tables.Run) -> dict[str, object]:
    return {name: getattr(run, name) for name in schemas.Run.model_fields if name not in {"run_id", "metrics"}}
