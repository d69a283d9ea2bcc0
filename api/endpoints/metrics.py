"""Per-epoch metrics: by page as JSON, or whole as CSV or Parquet."""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import Field
from starlette.exceptions import HTTPException

from api import downloads, negotiation, pages, schemas
from api.auth import Owner
from api.deps import ExperimentId, Parts, TheParts
from api.openapi import problems
from api.queries import MOST_CHOICES, Label, Rate, WholeNumber
from shared.errors import InvalidParameterError
from shared.store import repository
from shared.store.metrics import MetricsFilter, metrics_page

router = APIRouter(prefix="/experiments/{experiment_id}", tags=["results"])

Format = Literal["json", "csv", "parquet"]
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json", "csv": "text/csv", "parquet": "application/vnd.apache.parquet",
}  # fmt: skip
WRITERS: dict[Format, downloads.Writer] = {"csv": downloads.as_csv, "parquet": downloads.as_parquet}
TOKENS = pages.Tokens(tuple[WholeNumber, WholeNumber])

Accept = Annotated[str, Header(description="One of the media types; `format` says the same and wins.")]


class MetricsQuery(pages.PageQuery):
    """Which rows are wanted; parameters that may be repeated hold alternatives."""

    page_size: Annotated[int, Field(ge=1, le=10_000, description="Most rows of a page; for JSON only.")] = 1000
    activation: list[Label] = Field([], max_length=MOST_CHOICES, description="An activation's label.")
    rate: list[Rate] = Field([], max_length=MOST_CHOICES, description="Share of dirty rows; 0 is clean.")
    seed: list[WholeNumber] = Field([], max_length=MOST_CHOICES, description="Which trial, from 0.")
    epoch_from: WholeNumber | None = Field(None, description="The first epoch; they count from 1.")
    epoch_to: WholeNumber | None = Field(None, description="The last epoch.")
    format: Format | None = Field(None, description="Pages of JSON, or everything as one file.")

    def filter(self) -> MetricsFilter:
        """What the store knows it as."""
        return MetricsFilter(self.activation, self.rate, self.seed, self.epoch_from, self.epoch_to)


@router.get(
    "/metrics", summary="Read per-epoch metrics", response_model=schemas.Metrics,
    responses={
        200: {
            "description": "A page of rows, or all of them as a file.",
            "content": {
                MEDIA_TYPES["csv"]: {"schema": {"type": "string"}},
                MEDIA_TYPES["parquet"]: {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **problems(404, 406, 422),
    },
)  # fmt: skip
def list_metrics(
    parts: TheParts,
    owner: Owner,
    experiment_id: ExperimentId,
    query: Annotated[MetricsQuery, Query()],
    accept: Accept = "*/*",
) -> Response:
    """What every run measured after every epoch, by run and epoch.

    JSON comes in pages. `Accept: text/csv` or `application/vnd.apache.parquet`, or `format=csv` or `parquet`, gives
    all rows as one file, streamed.
    """
    chosen = query.format or _negotiate(accept)
    with parts.database.read() as session:
        repository.get_experiment(session, experiment_id, owner=owner)
    if chosen == "json":
        page = _page(parts, experiment_id, query)
        return Response(
            page.model_dump_json(exclude_unset=True), headers={"Vary": "Accept"}, media_type="application/json"
        )
    _refuse_pages(query)
    return StreamingResponse(
        downloads.download(parts.database, experiment_id, query.filter(), WRITERS[chosen]),
        headers={"Vary": "Accept", "Content-Disposition": f'attachment; filename="metrics-{experiment_id}.{chosen}"'},
        media_type=MEDIA_TYPES[chosen],
    )


def _negotiate(accept: str) -> Format:
    media_type = negotiation.preferred(accept, list(MEDIA_TYPES.values()))
    for name, offered in MEDIA_TYPES.items():
        if offered == media_type:
            return name
    raise HTTPException(406, "metrics come as " + ", ".join(MEDIA_TYPES.values()))


def _refuse_pages(query: MetricsQuery) -> None:
    for name in ("page_size", "page_token"):
        if name in query.model_fields_set:
            raise InvalidParameterError(name, "a download holds all rows; pages are for JSON", "misfit")


def _page(parts: Parts, experiment_id: str, query: MetricsQuery) -> schemas.Metrics:
    listing = query.listing("metrics", experiment_id)
    after = TOKENS.read(query.page_token, listing=listing)
    with parts.database.read() as session:
        found = metrics_page(session, experiment_id, query.filter(), limit=query.page_size + 1, after=after)
    shown, more = pages.split(found, query.page_size)
    rows = [schemas.MetricsRow.model_validate(row) for row, _ in shown]
    if not more:
        return schemas.Metrics(items=rows)
    return schemas.Metrics(items=rows, next_page_token=TOKENS.write(shown[-1][1], listing=listing))
