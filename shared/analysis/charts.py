"""Pictures of a comparison, each one Vega-Lite definition made from the answer of `/robustness`.

Colours are those of Okabe and Ito, which stay apart in every form of colour blindness; beyond eight activations they
repeat with another dash. A view takes the answer and, where it shows one rate only, which; by default the largest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#222222", "#8C8C00")
DASHES = ([1, 0], [6, 3], [2, 2])
# Those of the study have the same colour in every experiment; others take what these leave.
STUDY = ("relu", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "softsign")
WIDTH, HEIGHT = 460, 260
PANEL_WIDTH, PANEL_HEIGHT, PANEL_COLUMNS = 150, 110, 3
CELL = 34
BAND_OPACITY = 0.12
# More would take seconds to draw, and stand closer than one sees.
MOST_POINTS = 5_000

Answer = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]
# Altair's types say little: a chart in layers, sometimes in facets.
Chart = Any


class MissingPartError(ValueError):
    """The answer lacks a part that the view shows; `/robustness` gives it with `include`."""


@dataclass(frozen=True)
class View:
    """A picture: how it is drawn, and which optional parts of the answer it needs."""

    draw: Callable[[Answer, float | None], Chart]
    include: frozenset[str] = frozenset()


def degradation(answer: Answer, rate: float | None = None) -> Chart:
    """Degradation per epoch and activation with its simultaneous band.

    Raises: MissingPartError: the answer has no curves.
    """
    at = _rate(answer, rate)
    base = alt.Chart(_data(_points(answer, at))).encode(x=_epochs(), color=_colour(answer))
    band = base.mark_area(opacity=BAND_OPACITY).encode(
        y=alt.Y("band_low:Q", title=_degradation_title(answer)), y2="band_high:Q"
    )
    line = base.mark_line().encode(y="degradation:Q", strokeDash=_dash(answer))
    return _styled(
        _framed(_references(answer) + band + line),
        f"Degradation with {_percent(at)} of the rows dirty, {_confidence(answer)} simultaneous bands",
    )


def curves(answer: Answer, rate: float | None = None) -> Chart:
    """Learning curves on clean and on dirty data, a panel for each activation.

    Raises: MissingPartError: the answer has no curves.
    """
    at = _rate(answer, rate)
    rows = [
        {"activation": point["activation"], "epoch": point["epoch"], "trained on": name, "score": point[key]}
        for point in _points(answer, at)
        for name, key in (("clean", "clean"), ("dirty", "dirty"))
    ]
    dash = alt.StrokeDash(
        "trained on:N",
        scale=alt.Scale(domain=["clean", "dirty"], range=[[1, 0], [4, 3]]),
        legend=alt.Legend(title=None),
    )
    y = alt.Y("score:Q", title=answer["metric"]["unit"], scale=alt.Scale(zero=False))
    panel = alt.Chart().mark_line().encode(x=_epochs(), y=y, color=_colour(answer, legend=False), strokeDash=dash)
    labels = [label for label in _labels(answer) if any(row["activation"] == label for row in rows)]
    panels = panel.properties(width=PANEL_WIDTH, height=PANEL_HEIGHT, data=_data(rows)).facet(
        facet=alt.Facet("activation:N", title=None, sort=labels), columns=PANEL_COLUMNS
    )
    return _styled(panels, f"Clean and dirty validation {answer['metric']['name']}, {_percent(at)} of the rows dirty")


def sweep(answer: Answer, rate: float | None = None) -> Chart:  # noqa: ARG001 (the signature of a view; all are shown)
    """Degradation against the rate, with intervals, and where half of what was learned is lost."""
    rows = [row for entry in answer["activations"] for row in _sweep_rows(entry)]
    x = alt.X("rate:Q", title="share of dirty rows", axis=alt.Axis(format="%"))
    base = alt.Chart(_data(rows)).encode(x=x, color=_colour(answer))
    band = base.mark_area(opacity=BAND_OPACITY).encode(
        y=alt.Y("ci_low:Q", title=_degradation_title(answer)), y2="ci_high:Q"
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=25)).encode(y="mean:Q", strokeDash=_dash(answer))
    broken = [
        {"activation": entry["activation"], "rate": value}
        for entry in answer["activations"]
        if (value := entry["breakdown_rate"]["value"]) is not None
    ]
    marks = alt.Chart(_data(broken)).mark_rule(strokeDash=[2, 2]).encode(x="rate:Q", color=_colour(answer))
    title = f"Degradation against the rate, {_confidence(answer)} intervals"
    chart = _references(answer) + band + line + (marks if broken else alt.LayerChart(layer=[]))
    return _styled(_framed(chart), title + ("; dotted: breakdown" if broken else ""))


def pairs(answer: Answer, rate: float | None = None) -> Chart:
    """Differences of the degradations of all pairs, row minus column; a star where it is significant after adjustment.

    Raises: MissingPartError: the answer has no pairs.
    """
    at = _rate(answer, rate)
    cells = _cells(answer, at)
    most = max((abs(cell["difference"]) for cell in cells if cell["difference"] is not None), default=0.0) or 1.0
    order = [entry["activation"] for entry in _ranked(answer)]
    base = alt.Chart(_data(cells)).encode(
        x=alt.X("b:N", sort=order, title=None, axis=alt.Axis(labelAngle=-45, orient="bottom")),
        y=alt.Y("a:N", sort=order, title=None),
    )
    colour = alt.Color(
        "difference:Q", title="difference", scale=alt.Scale(domain=[-most, most], domainMid=0, scheme="blueorange"),
        legend=alt.Legend(format=".2g"),
    )  # fmt: skip
    marks = base.mark_text(fontSize=16, dy=4).encode(text="mark:N")
    size = CELL * max(3, len(order))
    return _styled(
        (base.mark_rect(stroke="white").encode(color=colour) + marks).properties(width=size, height=size),
        [
            f"Degradation of the row minus that of the column, {_percent(at)} of the rows dirty",
            "* significant after adjustment for all pairs",
        ],
    )


def forest(answer: Answer, rate: float | None = None) -> Chart:
    """Final degradation of each activation with its interval and verdict, in the order of their ranks."""
    at = _rate(answer, rate)
    rows = [
        {
            "activation": entry["activation"], "verdict": condition.get("verdict") or "incomplete",
            **condition["degradation"],
        }
        for entry in _ranked(answer)
        for condition in entry["conditions"]
        if condition["rate"] == at
    ]  # fmt: skip
    y = alt.Y("activation:N", sort=[row["activation"] for row in rows], title=None)
    base = alt.Chart(_data(rows)).encode(y=y, color=_colour(answer, legend=False))
    x = alt.X("ci_low:Q", title=_degradation_title(answer))
    interval = base.mark_rule(strokeWidth=2).encode(x=x, x2="ci_high:Q")
    point = base.mark_point(filled=True, size=70).encode(x="mean:Q")
    verdict = base.mark_text(align="left", dx=8, dy=-8, fontSize=10).encode(x="mean:Q", text="verdict:N")
    seeds = f"{answer['num_seeds']} seeds"
    title = f"Degradation with {_percent(at)} of the rows dirty, {_confidence(answer)} intervals over {seeds}"
    chart = _references(answer, across=True) + interval + point + verdict
    return _styled(_framed(chart), title)


VIEWS: Mapping[str, View] = {
    "degradation": View(degradation, frozenset({"curves"})),
    "curves": View(curves, frozenset({"curves"})),
    "sweep": View(sweep),
    "pairs": View(pairs, frozenset({"pairs"})),
    "forest": View(forest),
}


def as_svg(chart: Chart) -> str:
    """The chart as a picture for pages and papers."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def as_png(chart: Chart, *, scale: float = 2.0) -> bytes:
    """The chart as pixels, `scale` of them for each of the page's."""
    import vl_convert

    png: bytes = vl_convert.vegalite_to_png(chart.to_dict(), scale=scale)
    return png


def _data(rows: Rows) -> Any:
    return alt.InlineData(values=list(rows))


def _rate(answer: Answer, rate: float | None) -> float:
    """The rate that is shown; the answer's largest unless given.

    Raises: ValueError: the answer has no such rate.
    """
    known: set[float] = {condition["rate"] for entry in answer["activations"] for condition in entry["conditions"]}
    chosen = max(known, default=None) if rate is None else rate
    if chosen is None or chosen not in known:
        raise ValueError(f"the answer has no rate {rate}; it has {', '.join(map(str, sorted(known))) or 'none'}")
    return chosen


def _points(answer: Answer, rate: float) -> list[Mapping[str, Any]]:
    """Every epoch of each activation; of very many each second, third and so on, with the first and the last."""
    if any("curve" not in entry for entry in answer["activations"]):
        raise MissingPartError("the answer has no curves; ask for them with include=curves")
    points: list[Mapping[str, Any]] = [
        {"activation": entry["activation"], **point}
        for entry in answer["activations"]
        for point in entry["curve"]
        if point["rate"] == rate
    ]
    step = -(-len(points) // MOST_POINTS)
    if step <= 1:
        return points
    ends = {1, max(point["epoch"] for point in points)}
    return [point for point in points if point["epoch"] % step == 0 or point["epoch"] in ends]


def _sweep_rows(entry: Answer) -> list[Mapping[str, Any]]:
    nothing = {"activation": entry["activation"], "rate": 0.0, "mean": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    measured = [
        {"activation": entry["activation"], "rate": condition["rate"], **condition["degradation"]}
        for condition in sorted(entry["conditions"], key=lambda condition: condition["rate"])
    ]
    return [nothing, *measured]


def _cells(answer: Answer, rate: float) -> list[Mapping[str, Any]]:
    """Every pair twice, as a against b and as b against a."""
    if "pairs" not in answer:
        raise MissingPartError("the answer has no pairs; ask for them with include=pairs")
    cells: list[Mapping[str, Any]] = []
    for pair in answer["pairs"]:
        if pair["of"] != "degradation" or pair["rate"] != rate:
            continue
        difference, adjusted = pair["difference"], pair["p_adjusted"]
        mark = "*" if adjusted is not None and adjusted <= 1 - answer["confidence"] else ""
        cells.append({"a": pair["a"], "b": pair["b"], "difference": difference, "mark": mark})
        turned = None if difference is None else -difference
        cells.append({"a": pair["b"], "b": pair["a"], "difference": turned, "mark": mark})
    return cells


def _ranked(answer: Answer) -> list[Answer]:
    return sorted(answer["activations"], key=lambda entry: entry.get("rank") or 0)


def _labels(answer: Answer) -> list[str]:
    """All activations in an order that does not depend on their ranks: each keeps its colour."""
    return [entry["activation"] for entry in answer["activations"]]


def _places(answer: Answer) -> list[int]:
    """For each activation a place in the palette, no two alike."""
    labels = _labels(answer)
    own = {label: STUDY.index(label) for label in labels if label in STUDY}
    free = iter(place for place in range(len(labels) + len(STUDY)) if place not in own.values())
    return [own[label] if label in own else next(free) for label in labels]


def _colour(answer: Answer, *, legend: bool = True) -> alt.Color:
    colours = [PALETTE[place % len(PALETTE)] for place in _places(answer)]
    shown = alt.Legend(title=None, symbolOpacity=1) if legend else None
    return alt.Color("activation:N", scale=alt.Scale(domain=_labels(answer), range=colours), legend=shown)


def _dash(answer: Answer) -> alt.StrokeDash:
    dashes = [DASHES[place // len(PALETTE) % len(DASHES)] for place in _places(answer)]
    return alt.StrokeDash("activation:N", scale=alt.Scale(domain=_labels(answer), range=dashes), legend=None)


def _epochs() -> alt.X:
    return alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1))


def _degradation_title(answer: Answer) -> str:
    return f"degradation ({answer['metric']['unit']}); above 0: dirt did harm"


def _confidence(answer: Answer) -> str:
    return _percent(answer["confidence"])


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _references(answer: Answer, *, across: bool = False) -> Chart:
    """A line at zero and, where there is one, a dashed one at the margin."""
    values: list[dict[str, Any]] = [{"at": 0.0, "what": "zero"}]
    if answer["margin"]["value"] is not None:
        values.append({"at": answer["margin"]["value"], "what": "margin"})
    place = {"x" if across else "y": alt.X("at:Q") if across else alt.Y("at:Q")}
    dash = alt.StrokeDash("what:N", scale=alt.Scale(domain=["zero", "margin"], range=[[1, 0], [4, 4]]), legend=None)
    return alt.layer(alt.Chart(_data(values)).mark_rule(color="#777777").encode(strokeDash=dash, **place))


def _framed(layers: Chart) -> Chart:
    # Reference lines and curves are dashed for different reasons.
    return layers.properties(width=WIDTH, height=HEIGHT).resolve_scale(strokeDash="independent")


def _styled(chart: Chart, title: str | list[str]) -> Chart:
    return (
        chart.properties(title=title)
        .configure(background="white")
        .configure_axis(grid=False, labelFontSize=11, titleFontSize=11)
        .configure_legend(labelFontSize=11)
        .configure_title(fontSize=12, anchor="start")
    )
