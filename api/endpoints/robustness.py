"""The comparison of an experiment's activations, clean against dirty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import Field, field_validator
from pydantic_core import to_json
from sqlalchemy.orm import Session

from api import comparison, conditional, service
from api.auth import Owner
from api.deps import ExperimentId, TheParts
from api.openapi import problems
from api.queries import MOST_CHOICES, ClosedQuery, Rate
from api.robustness_schema import Robustness
from shared.catalog.datasets import DATASETS
from shared.errors import InvalidParameterError
from shared.spec import SCORE_PATTERN
from shared.store import repository
from shared.store.tables import Experiment

router = APIRouter(prefix="/experiments/{experiment_id}", tags=["results"])

MOST_CURVE_POINTS = 100_000
MOST_PAIRS = 20_000


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
    owner: Owner,
    experiment_id: ExperimentId,
    parameters: Annotated[RobustnessParameters, Query()],
    _if_none_match: conditional.IfNoneMatch = "",
) -> Response:
    """How much each activation loses to dirt, paired by seed: with intervals, tests, a verdict and ranks.

    Before the end: what is complete so far, with `"complete": false` and without verdicts, p values and ranks.
    """
    with parts.database.read() as session:
        asked = _Asked.of(session, experiment_id, parameters, owner=owner)
    unchanged = conditional.not_modified(request, asked.tag)
    if unchanged is not None:
        return unchanged
    body = parts.answers.get(asked.tag)
    if body is None:
        # Meanwhile another request may have made it, or the experiment may have gone on.
        with parts.answers.turn(owner), parts.database.read() as session:
            asked = _Asked.of(session, experiment_id, parameters, owner=owner)
            body = parts.answers.get(asked.tag) or _made(session, asked)
        parts.answers.put(asked.tag, body)
    return Response(body, headers=conditional.headers_for(asked.tag), media_type="application/json")


@dataclass(frozen=True)
class _Asked:
    """A checked question, and the tag of everything that its answer depends on, found without computing it."""

    experiment: Experiment
    query: comparison.RobustnessQuery
    tag: str

    @classmethod
    def of(cls, session: Session, experiment_id: str, parameters: RobustnessParameters, *, owner: str) -> "_Asked":
        experiment = repository.get_experiment(session, experiment_id, owner=owner)
        query = _checked(parameters, experiment.spec)
        progress = repository.progress_of(session, [experiment]).get(experiment_id)
        claims = repository.num_claims(session, experiment_id), repository.num_described_runs(session, experiment_id)
        wanted = (query.metric, query.score, query.rates, sorted(query.include))
        tag = conditional.weak_tag(service.version(), experiment_id, experiment.state, progress, claims, wanted)
        return cls(experiment, query, tag)


def _made(session: Session, asked: _Asked) -> bytes:
    # Not validated again, which would take as long as the curves do; tests hold the answer to its schema.
    return to_json(comparison.robustness_document(session, asked.experiment, asked.query), inf_nan_mode="null")


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
    _check_size(parameters.include, num_activations=len(spec["activations"]), num_rates=len(chosen), num_epochs=epochs)
    return comparison.RobustnessQuery(metric, score, chosen, frozenset(parameters.include))


def _check_size(include: Sequence[str], *, num_activations: int, num_rates: int, num_epochs: int) -> None:
    num_points = num_activations * num_rates * num_epochs
    # Degradation and dirty score at each rate, and the area under the degradation.
    num_pairs = num_activations * (num_activations - 1) // 2 * (2 * num_rates + 1)
    sizes = (
        ("curves", num_points, MOST_CURVE_POINTS, "these curves have {} points"),
        ("pairs", num_pairs, MOST_PAIRS, "these are {} comparisons of pairs"),
    )
    for part, size, most, said in sizes:
        if part in include and size > most:
            detail = f"{said.format(size)}, at most {most} are sent; ask for one 'rate' each"
            raise InvalidParameterError("include", detail, "too_large")
