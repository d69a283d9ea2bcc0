"""Charts of a comparison: what a reader looks for is in the picture."""

from typing import Any
from xml.etree import ElementTree

import pytest

from shared.analysis import charts


def answer(labels: list[str], *, curves: bool = True) -> dict[str, Any]:
    point = {"rate": 0.1, "clean": 0.1, "dirty": 0.2}
    return {
        "metric": {"name": "loss", "unit": "mse"}, "margin": {"value": 0.05}, "num_seeds": 10,
        "confidence": 0.95,
        "activations": [
            {
                "activation": label, "rank": len(labels) - place,
                "conditions": [{
                    "rate": 0.1, "verdict": "harmed" if place else None,
                    "degradation": {"mean": 0.1 * place, "ci_low": 0.05 * place, "ci_high": 0.2 * place},
                }],
                **({"curve": [
                    {**point, "epoch": epoch, "degradation": 0.1 / epoch, "band_low": 0.0, "band_high": 0.2}
                    for epoch in (1, 2, 3)
                ]} if curves else {}),
            }
            for place, label in enumerate(labels)
        ],
    }  # fmt: skip


def texts(svg: str) -> set[str]:
    return {element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("view", charts.VIEWS)
def test_every_view_names_its_activations_and_its_unit(view: str) -> None:
    labels = ["relu", "leaky_relu(negative_slope=0.2)", "tanh"]
    found = texts(charts.as_svg(charts.VIEWS[view](answer(labels))))
    assert set(labels) <= found
    assert any("mse" in text for text in found)


def test_a_forest_shows_the_verdicts_best_rank_first() -> None:
    chart = charts.forest(answer(["relu", "elu", "tanh"])).to_dict()
    assert {"harmed", "incomplete"} <= texts(charts.as_svg(charts.forest(answer(["relu", "tanh"]))))
    assert "tanh" in str(chart["layer"][1]["encoding"]["y"]["sort"][0])


def test_an_activation_keeps_its_colour_whatever_its_rank() -> None:
    scales = [charts.degradation(answer(["a", "b", "c"])), charts.forest(answer(["a", "b", "c"]))]
    colours = [chart.to_dict()["layer"][-2]["encoding"]["color"]["scale"] for chart in scales]
    assert colours[0] == colours[1]
    assert len(set(colours[0]["range"])) == 3


def test_the_degradation_view_says_that_it_needs_curves() -> None:
    with pytest.raises(ValueError, match="include=curves"):
        charts.degradation(answer(["relu"], curves=False))
