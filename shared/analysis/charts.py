"""Pictures of a comparison, each one Vega-Lite definition made from the answer of `/robustness`.

Colours are those of Okabe and Ito, which stay apart in every form of colour blindness; beyond eight activations they
repeat with another dash.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C8C00")
DASHES = ([1, 0], [6, 3], [2, 2])
WIDTH, HEIGHT = 460, 260
BAND_OPACITY = 0.12

Answer = Mapping[str, Any]
# Altair's types say little: a chart in layers, sometimes in facets.
Chart = Any


def degradation(answer: Answer) -> Chart:
    """Degradation per epoch and activation with its simultaneous band, at the answer's last rate (`include=curves`).

    Raises: ValueError: the answer has no curves.
    """
    rate = max(point["rate"] for entry in answer["activations"] for point in _curve(entry))
    rows = [
        {"activation": entry["activation"], **point}
        for entry in answer["activations"]
        for point in _curve(entry)
        if point["rate"] == rate
    ]
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(_data(rows)).encode(x=x, color=_colour(answer))
    band = base.mark_area(opacity=BAND_OPACITY).encode(
        y=alt.Y("band_low:Q", title=_degradation_title(answer)), y2="band_high:Q"
    )
    line = base.mark_line().encode(y="degradation:Q", strokeDash=_dash(answer))
    return _styled(
        _references(answer) + band + line,
        f"Degradation with {rate:.0%} of the rows dirty, {_confidence(answer)} simultaneous bands",
    )


def forest(answer: Answer) -> Chart:
    """Final degradation of each activation with its interval and verdict, in the order of their ranks."""
    rate = max(condition["rate"] for condition in answer["activations"][0]["conditions"])
    rows = [
        {
            "activation": entry["activation"], "verdict": condition.get("verdict") or "incomplete",
            **condition["degradation"],
        }
        for entry in sorted(answer["activations"], key=lambda entry: entry.get("rank") or 0)
        for condition in entry["conditions"]
        if condition["rate"] == rate
    ]  # fmt: skip
    y = alt.Y("activation:N", sort=[row["activation"] for row in rows], title=None)
    base = alt.Chart(_data(rows)).encode(y=y, color=_colour(answer, legend=False))
    x = alt.X("ci_low:Q", title=_degradation_title(answer))
    interval = base.mark_rule(strokeWidth=2).encode(x=x, x2="ci_high:Q")
    point = base.mark_point(filled=True, size=70).encode(x="mean:Q")
    verdict = base.mark_text(align="left", dx=8, dy=-8, fontSize=10).encode(x="mean:Q", text="verdict:N")
    seeds = f"{answer['num_seeds']} seeds"
    title = f"Degradation with {rate:.0%} of the rows dirty, {_confidence(answer)} intervals over {seeds}"
    return _styled(_references(answer, across=True) + interval + point + verdict, title)


VIEWS: Mapping[str, Callable[[Answer], Chart]] = {"degradation": degradation, "forest": forest}


def as_svg(chart: Chart) -> str:
    """The chart as a picture for pages and papers."""
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def _data(rows: Sequence[Answer]) -> Any:
    return alt.InlineData(values=list(rows))


def _curve(entry: Answer) -> Sequence[Answer]:
    if "curve" not in entry:
        raise ValueError("the answer has no curves; ask for them with include=curves")
    curve: Sequence[Answer] = entry["curve"]
    return curve


def _labels(answer: Answer) -> list[str]:
    """All activations in an order that does not depend on their ranks: each keeps its colour."""
    return [entry["activation"] for entry in answer["activations"]]


def _colour(answer: Answer, *, legend: bool = True) -> alt.Color:
    labels = _labels(answer)
    colours = [PALETTE[index % len(PALETTE)] for index in range(len(labels))]
    shown = alt.Legend(title=None, symbolOpacity=1) if legend else None
    return alt.Color("activation:N", scale=alt.Scale(domain=labels, range=colours), legend=shown)


def _dash(answer: Answer) -> alt.StrokeDash:
    labels = _labels(answer)
    dashes = [DASHES[index // len(PALETTE) % len(DASHES)] for index in range(len(labels))]
    return alt.StrokeDash("activation:N", scale=alt.Scale(domain=labels, range=dashes), legend=None)


def _degradation_title(answer: Answer) -> str:
    return f"degradation ({answer['metric']['unit']}); above 0: dirt did harm"


def _confidence(answer: Answer) -> str:
    return f"{answer['confidence']:.0%}"


def _references(answer: Answer, *, across: bool = False) -> Chart:
    """A line at zero and a dashed one at the margin."""
    values = [{"at": 0.0, "what": "zero"}, {"at": answer["margin"]["value"], "what": "margin"}]
    place = {"x" if across else "y": alt.X("at:Q") if across else alt.Y("at:Q")}
    dash = alt.StrokeDash("what:N", scale=alt.Scale(domain=["zero", "margin"], range=[[1, 0], [4, 4]]), legend=None)
    return alt.layer(alt.Chart(_data(values)).mark_rule(color="#777777").encode(strokeDash=dash, **place))


def _styled(chart: Chart, title: str) -> Chart:
    return (
        chart.properties(width=WIDTH, height=HEIGHT, title=title)
        .resolve_scale(strokeDash="independent")
        .configure(background="white")
        .configure_axis(grid=False, labelFontSize=11, titleFontSize=11)
        .configure_legend(labelFontSize=11)
        .configure_title(fontSize=12, anchor="start")
    )
