"""The comparison of an experiment's activations, clean against dirty."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import Field, field_validator

from api import comparison, conditional, service
from api.deps import ExperimentId, TheParts
from api.openapi import problems
from api.queries import MOST_CHOICES, ClosedQuery, Rate
from api.robustness_schema import Robustness
from shared.catalog.datasets import DATASETS
from shared.errors import InvalidParameterError
from shared.spec import SCORE_PATTERN
from shared.store import repository

router = APIRouter(prefix="/experiments/{experiment_id}", tags=["results"])

MOST_CURVE_POINTS = 100_000


class RobustnessParameters(ClosedQuery):
    """Which comparison is wanted."""

    metric: Literal["loss", "accuracy"] | None = Field(None, description="The spec's unless given.")
    score: Annotated[str, Field(pattern=SCORE_PATTERN)] | None = Field(
        None, description="`final`, `best`, `last5` or `epoch:N`; the spec's unless given."
    )
    rate: list[Rate] = Field([], max_length=MOST_CHOICES, description="Rates of dirt; all unless given.")
    include: list[Literal["curves", "pairs", "raw"]] = Field(
        [], max_length=MOST_CHOICES, description="Parts that are left out otherwise; repeated, or joined by commas."
    )

    @field_validator("include", mode="before")
    @classmethod
    def _joined_by_commas(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [part.strip() for text in value for part in str(text).split(",") if part.strip()]


@router.get(
    "/robustness", summary="Compare the activations", response_model=Robustness,
    responses={
        200: {
            "description": "The comparison, of what is complete so far.",
            "headers": conditional.OPENAPI_HEADERS,
        },
        304: conditional.OPENAPI_NOT_MODIFIED,
        **problems(404, 422),
    },
)  # fmt: skip
def get_robustness(
    request: Request,
    parts: TheParts,
    experiment_id: ExperimentId,
    parameters: Annotated[RobustnessParameters, Query()],
    _if_none_match: conditional.IfNoneMatch = "",
) -> Response:
    """How much each activation loses to dirt, paired by seed, with intervals and ranks.

    Before the end: what is complete so far, with `"complete": false` and without ranks.
    """
    with parts.database.read() as session:
        experiment = repository.get_experiment(session, experiment_id)
        query = _checked(parameters, experiment.spec)
        progress = repository.progress_of(session, [experiment]).get(experiment_id)
        claims = repository.num_claims(session, experiment_id), repository.num_described_runs(session, experiment_id)
        # Everything that the answer depends on, found without computing it.
        wanted = (query.metric, query.score, query.rates, sorted(query.include))
        tag = conditional.weak_tag(service.version(), experiment_id, experiment.state, progress, claims, wanted)
        unchanged = conditional.not_modified(request, tag)
        if unchanged is not None:
            return unchanged
        document = Robustness.model_validate(comparison.robustness_document(session, experiment, query))
    return Response(
        document.model_dump_json(exclude_unset=True), headers=conditional.headers_for(tag),
        media_type="application/json",
    )  # fmt: skip


def _checked(parameters: RobustnessParameters, spec: dict[str, Any]) -> comparison.RobustnessQuery:
    metric, score = parameters.metric or spec["metric"], parameters.score or spec["score"]
    if metric == "accuracy" and DATASETS[spec["dataset"]["kind"]].task == "regression":
        raise InvalidParameterError("metric", "a regression data set has no accuracy; use 'loss'", "misfit")
    epochs = spec["training"]["epochs"]
    if score.startswith("epoch:") and int(score.removeprefix("epoch:")) > epochs:
        raise InvalidParameterError("score", f"there are only {epochs} epochs", "misfit")
    rates = spec["corruption"]["rates"]
    if not set(parameters.rate) <= set(rates):
        known = ", ".join(str(rate) for rate in sorted(rates))
        raise InvalidParameterError("rate", f"the experiment has no such rate of dirt; its rates are {known}", "misfit")
    chosen = tuple(sorted(set(parameters.rate) or set(rates)))
    num_points = len(spec["activations"]) * len(chosen) * epochs
    if "curves" in parameters.include and num_points > MOST_CURVE_POINTS:
        detail = f"these curves have {num_points} points, at most {MOST_CURVE_POINTS} are sent; ask for one 'rate' each"
        raise InvalidParameterError("include", detail, "too_large")
    return comparison.RobustnessQuery(metric, score, chosen, frozenset(parameters.include))
