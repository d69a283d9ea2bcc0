"""Charts of a comparison: what a reader looks for is in the picture."""

from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest

from shared.analysis import charts


def answer(labels: list[str], *, curves: bool = True, rates: tuple[float, ...] = (0.1,)) -> dict[str, Any]:
    point = {"clean": 0.1, "dirty": 0.2}
    return {
        "metric": {"name": "loss", "unit": "mse"}, "margin": {"value": 0.05}, "num_seeds": 10,
        "confidence": 0.95,
        "activations": [
            {
                "activation": label, "rank": len(labels) - place,
                "breakdown_rate": {"value": 0.07 if place == 1 else None},
                "conditions": [{
                    "rate": rate, "verdict": "harmed" if place else None,
                    "degradation": {"mean": rate * place, "ci_low": 0.05 * place, "ci_high": 0.2 * place},
                } for rate in rates],
                **({"curve": [
                    {**point, "rate": rate, "epoch": epoch, "degradation": rate / epoch, "band_low": 0, "band_high": 1}
                    for rate in rates for epoch in (1, 2, 3)
                ]} if curves else {}),
            }
            for place, label in enumerate(labels)
        ],
        "pairs": [
            {"a": a, "b": b, "rate": rate, "of": of, "difference": 0.01, "p_adjusted": 0.04 if rate == 0.1 else 0.2}
            for a, b in combinations(labels, 2) for rate in rates for of in ("degradation", "dirty")
        ],
    }  # fmt: skip


def drawn(view: str, document: dict[str, Any], rate: float | None = None) -> Any:
    return charts.VIEWS[view].draw(document, rate)


def values(chart: Any, *, holding: str) -> list[dict[str, Any]]:
    """The rows of a chart's data that have a field of this name."""
    datasets = chart.to_dict()["datasets"].values()
    return [row for rows in datasets for row in rows if holding in row]


def texts(svg: str) -> set[str]:
    return {element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("view", charts.VIEWS)
def test_every_view_names_its_activations(view: str) -> None:
    labels = ["relu", "leaky_relu(negative_slope=0.2)", "tanh"]
    assert set(labels) <= texts(charts.as_svg(drawn(view, answer(labels))))


@pytest.mark.parametrize("view", sorted(set(charts.VIEWS) - {"pairs"}))
def test_every_view_of_scores_names_their_unit(view: str) -> None:
    assert any("mse" in text for text in texts(charts.as_svg(drawn(view, answer(["relu", "elu"])))))


@pytest.mark.parametrize("view", charts.VIEWS)
def test_every_view_shows_the_largest_rate_unless_told_otherwise(view: str) -> None:
    document = answer(["relu", "elu"], rates=(0.05, 0.3))
    if view == "sweep":
        assert {row["rate"] for row in values(drawn(view, document), holding="mean")} == {0.0, 0.05, 0.3}
        return
    assert "30 %" in str(drawn(view, document).to_dict()["title"])
    assert "5 %" in str(drawn(view, document, 0.05).to_dict()["title"])


@pytest.mark.parametrize("view", charts.VIEWS)
def test_a_view_is_pixels_as_well(view: str) -> None:
    png = charts.as_png(drawn(view, answer(["relu", "elu"])), scale=1)
    assert png.startswith(b"\x89PNG")


def test_a_forest_shows_the_verdicts_best_rank_first() -> None:
    chart = drawn("forest", answer(["relu", "elu", "tanh"])).to_dict()
    assert {"harmed", "incomplete"} <= texts(charts.as_svg(drawn("forest", answer(["relu", "tanh"]))))
    assert "tanh" in str(chart["layer"][1]["encoding"]["y"]["sort"][0])


def test_an_activation_keeps_its_colour_whatever_its_rank_and_its_company() -> None:
    def colours(view: str, labels: list[str]) -> dict[str, str]:
        scale = drawn(view, answer(labels)).to_dict()["layer"][-2]["encoding"]["color"]["scale"]
        return dict(zip(scale["domain"], scale["range"], strict=True))

    found = colours("degradation", ["mine", "tanh", "relu"])
    assert found == colours("forest", ["mine", "tanh", "relu"])
    assert len(set(found.values())) == 3
    other = colours("forest", ["relu", "elu", "tanh"])
    assert {label: other[label] for label in ("relu", "tanh")} == {label: found[label] for label in ("relu", "tanh")}


def test_learning_curves_show_clean_and_dirty() -> None:
    rows = values(drawn("curves", answer(["relu", "elu"])), holding="score")
    assert len(rows) == 2 * 2 * 3
    assert {(row["trained on"], row["score"]) for row in rows} == {("clean", 0.1), ("dirty", 0.2)}


def test_of_very_many_epochs_as_many_are_drawn_as_one_can_see(monkeypatch: pytest.MonkeyPatch) -> None:
    document = answer(["relu", "elu"])
    for entry in document["activations"]:
        [first, *_] = entry["curve"]
        entry["curve"] = [{**first, "epoch": epoch} for epoch in range(1, 101)]
    assert len(values(drawn("degradation", document), holding="degradation")) == 200
    monkeypatch.setattr(charts, "MOST_POINTS", 60)
    rows = values(drawn("degradation", document), holding="degradation")
    assert [row["epoch"] for row in rows if row["activation"] == "relu"] == [1, *range(4, 101, 4)]


def test_a_sweep_starts_without_harm_at_clean_and_marks_where_an_activation_breaks_down() -> None:
    chart = drawn("sweep", answer(["relu", "elu"], rates=(0.05, 0.1)))
    assert {row["mean"] for row in values(chart, holding="mean") if row["rate"] == 0} == {0.0}
    assert {"activation": "elu", "rate": 0.07} in values(chart, holding="rate")


def test_a_matrix_of_pairs_is_antisymmetric_and_marks_what_is_significant() -> None:
    document = answer(["relu", "elu", "tanh"], rates=(0.1, 0.2))
    cells = {(cell["a"], cell["b"]): cell for cell in values(drawn("pairs", document, 0.1), holding="difference")}
    assert len(cells) == 6
    assert all(cell["difference"] == -cells[b, a]["difference"] for (a, b), cell in cells.items())
    assert {cell["mark"] for cell in cells.values()} == {"*"}
    assert {cell["mark"] for cell in values(drawn("pairs", document, 0.2), holding="difference")} == {""}


def test_what_cannot_be_known_yet_is_drawn_around() -> None:
    document = answer(["relu", "elu"])
    document["margin"]["value"] = None
    document["activations"][0]["conditions"][0]["degradation"] = dict.fromkeys(("mean", "ci_low", "ci_high"))
    for pair in document["pairs"]:
        pair["difference"] = pair["p_adjusted"] = None
    for view in charts.VIEWS:
        assert "relu" in texts(charts.as_svg(drawn(view, document)))


@pytest.mark.parametrize("view", ["degradation", "curves"])
def test_a_view_of_curves_says_that_it_needs_them(view: str) -> None:
    with pytest.raises(charts.MissingPartError, match="include=curves"):
        drawn(view, answer(["relu"], curves=False))


def test_the_view_of_pairs_says_that_it_needs_them() -> None:
    document = answer(["relu"])
    del document["pairs"]
    with pytest.raises(charts.MissingPartError, match="include=pairs"):
        drawn("pairs", document)


def test_a_rate_that_was_not_trained_is_refused_with_those_that_were() -> None:
    with pytest.raises(ValueError, match=r"no rate 0\.5; it has 0\.1"):
        drawn("forest", answer(["relu"]), 0.5)


@pytest.mark.parametrize("view", ["degradation", "sweep", "forest"])
def test_a_picture_of_intervals_names_their_confidence(view: str) -> None:
    document = answer(["relu", "elu"])
    assert "95 %" in str(drawn(view, document).to_dict()["title"])
    assert "97.5 %" in str(drawn(view, {**document, "confidence": 0.975}).to_dict()["title"])


def test_a_star_means_significant_at_the_answers_own_error() -> None:
    document = answer(["relu", "elu"])
    marks = {row["mark"] for row in values(drawn("pairs", document), holding="mark")}
    assert marks == {"*"}, "p is 0.04"
    halved = {**document, "confidence": 0.975}
    assert {row["mark"] for row in values(drawn("pairs", halved), holding="mark")} == {""}
