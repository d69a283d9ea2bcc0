"""The comparison of an experiment's activations, clean against dirty."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import Field, field_validator

from api import conditional
from api.auth import Owner
from api.deps import ExperimentId, TheParts
from api.openapi import problems
from api.queries import MOST_CHOICES, ClosedQuery, Rate
from api.questions import AS_JSON, Question, Wanted
from api.robustness_schema import Robustness
from shared.spec import SCORE_PATTERN

router = APIRouter(prefix="/experiments/{experiment_id}", tags=["results"])


class ComparisonParameters(ClosedQuery):
    """What is compared."""

    metric: Literal["loss", "accuracy"] | None = Field(None, description="The spec's unless given.")
    score: Annotated[str, Field(pattern=SCORE_PATTERN)] | None = Field(
        None, description="`final`, `best`, `last5` or `epoch:N`; the spec's unless given."
    )


class RobustnessParameters(ComparisonParameters):
    """Which comparison is wanted."""

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
    owner: Owner,
    experiment_id: ExperimentId,
    parameters: Annotated[RobustnessParameters, Query()],
    _if_none_match: conditional.IfNoneMatch = "",
) -> Response:
    """How much each activation loses to dirt, paired by seed: with intervals, tests, a verdict and ranks.

    Before the end: what is complete so far, with `"complete": false` and without verdicts, p values and ranks.
    """
    wanted = Wanted(parameters.metric, parameters.score, tuple(parameters.rate), frozenset(parameters.include))
    return Question(experiment_id, owner, wanted).answer(request, parts, AS_JSON)
