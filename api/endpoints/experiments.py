"""Experiments: post, list, look at, cancel, resume, delete."""

from typing import Annotated, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Header, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import AfterValidator, Field

from api import conditional, documents, pages, schemas, service
from api.auth import Owner
from api.bodies import parse_json
from api.deps import Body, ExperimentId, NoParameters, TheParts
from api.openapi import EXPERIMENT_BODY, problems
from api.queries import MOST_CHOICES, ClosedQuery, Label, Moment
from shared.catalog.base import suggestion
from shared.catalog.datasets import DATASETS
from shared.store import lifecycle, repository
from shared.store.states import ExperimentState

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/experiments", tags=["experiments"])

_LOCATION = {"Location": {"description": "The experiment.", "schema": {"type": "string", "format": "uri-reference"}}}


def _known_dataset(kind: str) -> str:
    if kind not in DATASETS:
        raise ValueError(f"this data set is not in the catalog; {suggestion(kind[:80], list(DATASETS))}")
    return kind


DatasetKind = Annotated[str, AfterValidator(_known_dataset), Field(json_schema_extra={"enum": list(DATASETS)})]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255, pattern="^[ -~]+$",
        description="Any text of the client's choice. The same key with the same body gives the same answer again "
        "instead of another experiment.",
    ),
]  # fmt: skip


class PostQuery(ClosedQuery):
    """How a spec is posted."""

    validate_only: bool = Field(False, description="Check the spec and answer with its plan; nothing is stored.")


class ListQuery(pages.PageQuery):
    """Which experiments are listed; parameters that may be repeated hold alternatives."""

    state: list[ExperimentState] = Field([], max_length=MOST_CHOICES, description="A state.")
    dataset: list[DatasetKind] = Field([], max_length=MOST_CHOICES, description="A kind of data set.")
    activation: list[Label] = Field([], max_length=MOST_CHOICES, description="A label, or a kind of the catalog.")
    created_after: Moment | None = Field(None, description="RFC 3339, exclusive.")
    created_before: Moment | None = Field(None, description="RFC 3339, exclusive.")
    order_by: Literal["-created_at", "created_at"] = Field("-created_at", description="A minus: the newest first.")

    def filter(self, owner: str) -> repository.ExperimentFilter:
        """What the repository knows it as."""
        return repository.ExperimentFilter(
            owner, self.state, self.dataset, self.activation, self.created_after, self.created_before
        )


async def _posted(owner: Owner, body: Body, idempotency_key: IdempotencyKey = None) -> service.Posted:
    return service.Posted(owner, body, idempotency_key)


Posted = Annotated[service.Posted, Depends(_posted)]
TOKENS = pages.Tokens(tuple[Moment, UUID])


@router.post(
    "",
    status_code=service.ACCEPTED,
    summary="Run an experiment",
    response_model=schemas.Experiment,
    responses={
        200: {"description": "With `validate_only`: what it would cost.", "model": schemas.Plan},
        202: {"description": "The experiment is stored and will run.", "headers": _LOCATION},
        **problems(400, 409, 413, 415, 422),
    },
    openapi_extra=EXPERIMENT_BODY,
)
def create_experiment(
    request: Request, parts: TheParts, posted: Posted, query: Annotated[PostQuery, Query()]
) -> Response:
    """Check a spec, store it with all its jobs and runs, and start them as soon as a worker is free.

    The answer holds the resolved spec, down to the last default. With an `Idempotency-Key` the request may safely be
    sent again: 409 says that the first one is still on its way, 422 that the key came with another body.
    """
    document = parse_json(posted.body)
    if query.validate_only:
        checked = service.check(document, parts.settings)
        parts.rate_limit.count_checked(posted.owner, checked.plan.num_runs_at_most)
        plan = service.plan_document(parts.database, checked, owner=posted.owner)
        return Response(plan.model_dump_json(exclude_unset=True), media_type="application/json")
    answer = service.earlier_answer(parts.database, posted)
    if answer is None:
        checked = service.check(document, parts.settings)
        parts.rate_limit.count_runs(posted.owner, checked.plan.num_runs_at_most)
        most = parts.settings.max_waiting_experiments
        answer = service.create(parts.database, checked, posted, max_waiting=most)
        log.info("experiment posted", experiment=answer.experiment_id, owner=posted.owner)
        parts.bell.ring()
    location = f"{request.scope.get('root_path', '')}/experiments/{answer.experiment_id}"
    return Response(answer.body, answer.status, headers={"Location": location}, media_type="application/json")


@router.get(
    "", summary="List experiments", response_model=schemas.Experiments,
    responses={200: {"description": "A page of experiments."}, **problems(422)},
)  # fmt: skip
def list_experiments(parts: TheParts, owner: Owner, query: Annotated[ListQuery, Query()]) -> Response:
    """A page of experiments, the newest first unless told otherwise.

    Experiments that are posted meanwhile neither repeat nor hide others on later pages.
    """
    listing = query.listing("experiments")
    after = TOKENS.read(query.page_token, listing=listing)
    with parts.database.read() as session:
        found = repository.list_experiments(
            session, query.filter(owner), limit=query.page_size + 1, newest_first=query.order_by == "-created_at",
            after=(after[0], str(after[1])) if after else None,
        )  # fmt: skip
        shown, more = pages.split(found, query.page_size)
        items = documents.of_several(session, parts.answers, shown)
    token = TOKENS.write((shown[-1].created_at, UUID(shown[-1].id)), listing=listing) if more else None
    return Response(pages.body(items, token), media_type="application/json")


@router.get(
    "/{experiment_id}", summary="Look at an experiment", response_model=schemas.Experiment,
    dependencies=[NoParameters],
    responses={
        200: {"description": "The experiment.", "headers": conditional.OPENAPI_HEADERS},
        304: conditional.OPENAPI_NOT_MODIFIED,
        **problems(404, 422),
    },
)  # fmt: skip
def get_experiment(
    request: Request,
    parts: TheParts,
    owner: Owner,
    experiment_id: ExperimentId,
    _if_none_match: conditional.IfNoneMatch = "",
) -> Response:
    """The resolved spec, state and progress. Ask again with `If-None-Match`: 304 as long as nothing has changed."""
    answer = documents.of_one(parts.database, parts.answers, experiment_id, owner=owner)
    return conditional.not_modified(request, answer.tag) or Response(
        answer.body, headers=conditional.headers_for(answer.tag), media_type="application/json"
    )


@router.post(
    "/{experiment_id}/cancel", status_code=service.ACCEPTED, summary="Cancel an experiment",
    dependencies=[NoParameters],
    responses={
        200: {"description": "It was cancelled already.", "model": schemas.Experiment},
        202: {"description": "It stops; what was measured stays."},
        **problems(404, 409, 422),
    },
)  # fmt: skip
def cancel_experiment(
    parts: TheParts, owner: Owner, response: Response, experiment_id: ExperimentId
) -> schemas.Experiment:
    """Stop an experiment. What waits is cancelled at once, what trains stops within an epoch or a few seconds."""
    document = service.cancel(parts.database, experiment_id, owner=owner)
    if document.state == ExperimentState.CANCELLED:
        response.status_code = 200
    return document


@router.post(
    "/{experiment_id}/resume", status_code=service.ACCEPTED, summary="Resume an experiment",
    dependencies=[NoParameters],
    responses={202: {"description": "Its unfinished jobs wait again."}, **problems(404, 409, 422)},
)  # fmt: skip
def resume_experiment(parts: TheParts, owner: Owner, experiment_id: ExperimentId) -> schemas.Experiment:
    """Queue the unfinished jobs of a failed or cancelled experiment again; they go on from their checkpoints."""
    most = parts.settings.max_waiting_experiments
    document = service.resume(parts.database, experiment_id, owner=owner, max_waiting=most)
    parts.bell.ring()
    return document


@router.delete(
    "/{experiment_id}", status_code=204, summary="Delete an experiment", dependencies=[NoParameters],
    responses={204: {"description": "It is gone."}, **problems(404, 409, 422)},
)  # fmt: skip
def delete_experiment(parts: TheParts, owner: Owner, experiment_id: ExperimentId) -> None:
    """Delete a finished experiment and everything that came of it; cancel one that still runs before."""
    with parts.database.write() as session:
        lifecycle.mark_deleted(session, experiment_id, owner=owner)
