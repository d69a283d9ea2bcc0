"""The comparison of an experiment's activations as a picture."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic import Field

from api import conditional
from api.auth import Owner
from api.deps import ExperimentId, TheParts
from api.endpoints.robustness import ComparisonParameters
from api.openapi import problems
from api.queries import Rate
from api.questions import Form, Question, Wanted
from shared.errors import InvalidParameterError

router = APIRouter(prefix="/experiments/{experiment_id}", tags=["results"])

# Altair takes a second and 60 MB to load, so that its views are named here; a test compares.
ViewName = Literal["degradation", "curves", "sweep", "pairs", "forest"]
FormatName = Literal["svg", "png", "vega-lite"]
MEDIA_TYPES: dict[FormatName, str] = {
    "svg": "image/svg+xml", "png": "image/png", "vega-lite": "application/vnd.vegalite+json",
}  # fmt: skip


class ChartParameters(ComparisonParameters):
    """Which picture is wanted."""

    view: ViewName = Field("degradation", description="What it shows.")
    format: FormatName = Field("svg", description="`vega-lite` is the definition that the others are drawn from.")
    rate: Rate | None = Field(None, description="The rate of dirt that it shows; the largest unless given.")


@router.get(
    "/robustness/chart", summary="Draw the comparison", response_class=Response,
    responses={
        200: {
            "description": "The picture, of what is complete so far.",
            "headers": conditional.OPENAPI_HEADERS,
            "content": {
                MEDIA_TYPES["svg"]: {"schema": {"type": "string"}},
                MEDIA_TYPES["png"]: {"schema": {"type": "string", "format": "binary"}},
                # Without a schema: with one, generated clients would decode every picture as this JSON.
                MEDIA_TYPES["vega-lite"]: {},
            },
        },
        304: conditional.OPENAPI_NOT_MODIFIED,
        **problems(404, 422),
    },
)  # fmt: skip
def get_robustness_chart(
    request: Request,
    parts: TheParts,
    owner: Owner,
    experiment_id: ExperimentId,
    parameters: Annotated[ChartParameters, Query()],
    _if_none_match: conditional.IfNoneMatch = "",
) -> Response:
    """The comparison as a picture: as SVG or PNG, or as Vega-Lite to draw it elsewhere.

    `degradation`: per epoch, with simultaneous bands; `curves`: clean and dirty learning curves; `sweep`: against the
    rate, with breakdown; `pairs`: who loses more than whom; `forest`: the final degradations with their verdicts.
    Of curves with more than 5,000 points in all only every second epoch is drawn, or third, and so on.
    """
    from shared.analysis.charts import VIEWS

    rates = () if parameters.rate is None else (parameters.rate,)
    wanted = Wanted(parameters.metric, parameters.score, rates, VIEWS[parameters.view].include)
    form = Form(
        f"{parameters.view} {parameters.format}", MEDIA_TYPES[parameters.format],
        lambda document: _drawn(json.loads(document), parameters.view, parameters.format),
    )  # fmt: skip
    return Question(experiment_id, owner, wanted).answer(request, parts, form)


def _drawn(document: dict[str, Any], view: ViewName, as_format: FormatName) -> bytes:
    from shared.analysis import charts

    try:
        chart = charts.VIEWS[view].draw(document, None)
    except ValueError as error:
        raise InvalidParameterError("view", f"this experiment has no such picture: {error}", "misfit") from None
    if as_format == "png":
        return charts.as_png(chart)
    text = charts.as_svg(chart) if as_format == "svg" else json.dumps(chart.to_dict())
    return text.encode()
