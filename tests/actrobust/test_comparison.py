import copy
import csv
import io
from typing import Any

import pytest
from rich.console import Console

from actrobust.commands.comparison import number, print_comparison, to_csv

ACTIVATION = {
    "activation": "relu",
    "rank": 1,
    "clean": {"mean": 0.030, "sd": 0.002, "n": 10},
    "conditions": [
        {
            "rate": 0.1,
            "dirty": {"mean": 0.040, "sd": 0.003, "n": 10},
            "degradation": {"mean": 0.010, "sd": 0.003, "ci_low": 0.008, "ci_high": 0.012},
            "verdict": "harmed",
            "provisional": True,
        }
    ],
}


def answer(*activations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "experiment_id": "0199c2f0-5f3e-7a3b-8d61-0123456789ab",
        "state": "succeeded",
        "complete": True,
        "metric": {"name": "loss", "unit": "mse", "better": "lower"},
        "score": "final",
        "epoch": 20,
        "num_seeds": 10,
        "margin": {"value": 0.005, "declared": False},
        "activations": list(activations),
        **fields,
    }


def activation(label: str, rank: int | None, **fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ACTIVATION), "activation": label, "rank": rank, **fields}


def printed(robustness: dict[str, Any], *, name: str | None = None, width: int = 100) -> str:
    file = io.StringIO()
    print_comparison(robustness, console=Console(file=file, width=width), name=name)
    return file.getvalue()


def test_the_table_fits_100_columns_however_long_the_labels_and_large_the_numbers() -> None:
    many = [activation(f"leaky_relu(negative_slope=0.{n:02})", n + 1) for n in range(20)]
    many.append(activation("x" * 200, None))
    huge = activation("diverging", 22, clean={"mean": 1.5e30, "sd": 2.25e31, "n": 10})
    huge["conditions"][0]["degradation"] = {"mean": -1.5e300, "sd": 1e9, "ci_low": -123456.789, "ci_high": 1e300}
    nothing = activation("nothing_yet", None, clean={"mean": None, "sd": None, "n": 0}, conditions=[])
    text = printed(answer(*many, huge, nothing), name="n" * 150)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.count("x") >= 200, "a long label continues on the next line"
    assert text.count("leaky_relu") == 20


def test_a_row_shows_means_spread_interval_and_count() -> None:
    text = printed(answer(ACTIVATION))
    row = next(line for line in text.splitlines() if " relu " in line)
    assert row.split() == [
        *("1", "relu", "0.0300", "±", "0.0020", "0.0400", "±", "0.0030"),
        *("+0.0100", "[0.0080,", "0.0120]", "harmed?"),
    ]
    assert "margin of 0.005" in text
    assert "? the margin is a default" in text


def test_a_verdict_on_a_declared_margin_is_not_doubted() -> None:
    declared = activation("relu", 1)
    declared["conditions"][0] |= {"verdict": "inconclusive", "provisional": False}
    text = printed(answer(declared, margin={"value": 0.02, "declared": True}))
    assert " inconclusive" in text
    assert "?" not in text


def test_on_80_columns_everything_but_the_sds_has_room() -> None:
    rows = [activation(label, 1) for label in ("relu", "leaky_relu")]
    for row in rows:
        row["conditions"][0] |= {"verdict": "inconclusive", "provisional": True}
    text = printed(answer(*rows), width=80)
    assert max(len(line) for line in text.splitlines() if "relu" in line) <= 80
    assert text.count("inconclusive?") == 2
    assert text.count("[0.0080, 0.0120]") == 2
    assert "±" not in text


def test_the_title_names_experiment_metric_score_and_seeds() -> None:
    text = printed(answer(ACTIVATION), name="tonight")
    assert "tonight (0199c2f0-5f3e-7a3b-8d61-0123456789ab)" in text
    assert "validation loss (mse, lower is better) · score: final (epoch 20) · 10 seeds" in text
    assert "rate 0.1: 10 % of the training rows dirty" in text
    assert "positive: dirt did harm" in text
    assert "incomplete" not in text


def test_rows_are_sorted_by_rank_and_the_unranked_come_last() -> None:
    text = printed(answer(activation("third", None), activation("second", 2), activation("first", 1)))
    assert text.index("first") < text.index("second") < text.index("third")


def test_every_rate_has_a_table() -> None:
    twice = activation("relu", 1)
    twice["conditions"].append({**twice["conditions"][0], "rate": 0.25})
    text = printed(answer(twice))
    assert text.index("rate 0.1: 10 %") < text.index("rate 0.25: 25 %")


def test_nulls_are_dashes() -> None:
    bare = activation("bare", None, clean={"mean": None, "sd": None, "n": 0})
    bare["conditions"] = [{"rate": 0.1, "dirty": None, "degradation": None}]
    row = next(line for line in printed(answer(bare)).splitlines() if "bare" in line)
    assert row.split() == ["-", "bare", "-", "-", "-", "-", "-", "0"]


def test_an_answer_before_the_end_says_so() -> None:
    text = printed(answer(activation("relu", None), complete=False, state="running"))
    assert "incomplete (running)" in text
    assert "verdicts come when every run has finished" in text
    assert "margin" not in text


def test_a_response_of_the_bare_minimum_is_printed() -> None:
    assert "experiment e1" in printed({"experiment_id": "e1", "activations": []})


def test_accuracy_degrades_the_other_way_round() -> None:
    text = printed(answer(ACTIVATION, metric={"name": "accuracy", "unit": None, "better": "higher"}))
    assert "clean - dirty" in text
    assert "validation accuracy (higher is better)" in text


def test_different_counts_are_both_shown() -> None:
    fewer = activation("relu", 1)
    fewer["conditions"][0]["dirty"]["n"] = 7
    assert "10/7" in printed(answer(fewer))


def test_warnings_and_diverged_runs_are_listed_and_long_lists_cut() -> None:
    diverged = [{"activation": "relu6", "rate": 0.1, "seed": seed} for seed in range(20)]
    text = printed(answer(ACTIVATION, warnings=["few seeds"], diverged=diverged, missing_pairs=[{"seed": 3}]))
    assert "warning: few seeds" in text
    assert "diverged: activation relu6, rate 0.1, seed 11" in text
    assert "diverged: and 8 more" in text
    assert "missing pair: seed 3" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0.0, "0.0000"), (0.01234, "0.0123"), (1234.5, "1234.5000"), (1e-7, "1.0e-07"), (-2e9, "-2.0e+09")],
)
def test_numbers_are_short(value: float | None, shown: str) -> None:
    assert number(value, 4) == shown


def test_labels_are_not_taken_for_markup() -> None:
    assert "[red]relu[/]" in printed(answer(activation("[red]relu[/]", 1)))


def test_csv_has_one_row_an_activation_and_rate() -> None:
    twice = activation("a,b", 1)
    twice["conditions"].append({**twice["conditions"][0], "rate": 0.25})
    rows = list(csv.DictReader(io.StringIO(to_csv(answer(twice, activation("tanh", None, conditions=[]))))))
    assert [(row["activation"], row["rate"]) for row in rows] == [("a,b", "0.1"), ("a,b", "0.25"), ("tanh", "")]
    assert float(rows[0]["degradation_mean"]) == 0.010
    assert float(rows[0]["clean_mean"]) == 0.030
    assert rows[2]["rank"] == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "precision: half-width 0.0021, target 0.0025, reached at 15 of at most 50 seeds"),
        ({"half_width": None, "reached": False}, "precision: target 0.0025, not reached at 15 of at most 50 seeds"),
        (
            {"half_width": None, "target": None, "reached": False},
            "precision: not reached at 15 of at most 50 seeds",
        ),
    ],
    ids=str,
)
def test_a_precision_target_is_told_with_how_near_it_is(changes: dict[str, Any], said: str) -> None:
    precision = {
        "target": 0.0025, "half_width": 0.0021, "reached": True, "num_seeds": 15, "max_seeds": 50,
        "overall_confidence": 0.95, **changes,
    }  # fmt: skip
    text = printed(answer(ACTIVATION, precision=precision, confidence=0.975))
    assert said in text.splitlines()
    assert "97.5 % interval" in text
    assert "precision" not in printed(answer(ACTIVATION))
