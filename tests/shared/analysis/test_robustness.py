import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.analysis.robustness import Question, compare
from shared.analysis.scores import Results
from tests.shared.analysis.results import results

NAN = np.nan


def ask(given: Results, **changes: Any) -> dict[str, Any]:
    question: dict[str, Any] = {"metric": "loss", "score": "final", "rates": given.rates[1:], "declared_margin": None}
    answer = compare(given, Question(**{**question, **changes}))
    json.dumps(answer, allow_nan=False)
    return answer


def final(values: Any) -> Any:
    """(A, R, S) as results of a single epoch, (A, R, S, 1)."""
    return np.array(values, dtype=float)[..., None]


def ranks(answer: dict[str, Any]) -> dict[str, int | None]:
    return {entry["activation"]: entry["rank"] for entry in answer["activations"]}


# Three activations, two seeds, one rate. D of a: 1, 3. D of b: 0.5, 0.5. D of c: -1, 0.
BY_HAND = final([[[1, 2], [2, 5]], [[3, 3], [3.5, 3.5]], [[4, 4], [3, 4]]])


def test_the_comparison_of_three_activations_over_two_seeds_by_hand() -> None:
    answer = ask(results(BY_HAND, labels=["a", "b", "c"]))
    a, b, c = answer["activations"]
    assert a["clean"] == {"mean": 1.5, "sd": pytest.approx(math.sqrt(0.5)), "n": 2}
    (condition,) = a["conditions"]
    assert condition["rate"] == 0.1
    assert condition["dirty"] == {"mean": 3.5, "sd": pytest.approx(math.sqrt(4.5)), "n": 2}
    # t(1, 0.975) = 12.7062; mean 2, SD sqrt(2), so half a width of 12.7062.
    assert condition["degradation"] == {
        "mean": 2.0,
        "sd": pytest.approx(math.sqrt(2)),
        "n": 2,
        "iqm": 2.0,
        "ci_low": pytest.approx(2 - 12.706205, abs=1e-5),
        "ci_high": pytest.approx(2 + 12.706205, abs=1e-5),
        "p_value": 0.5,
        "effect_size": 0.0,
    }
    assert b["conditions"][0]["degradation"] == {
        "mean": 0.5, "sd": 0.0, "n": 2, "iqm": 0.5, "ci_low": None, "ci_high": None, "p_value": None,
        "effect_size": None,
    }  # fmt: skip
    assert c["conditions"][0]["degradation"]["mean"] == -0.5
    assert ranks(answer) == {"a": 3, "b": 2, "c": 1}
    assert answer["complete"] is True
    assert answer["num_seeds"] == 2
    assert answer["null_score"] == {"mean": 1.0}
    assert answer["diverged"] == answer["missing_pairs"] == []


def test_intervals_pair_dirty_with_clean_seed_by_seed() -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(1, 1, size=10)
    dirty = clean + rng.normal(0.1, 0.01, size=10)
    (entry,) = ask(results(final([[clean, dirty]])))["activations"]
    degradation = entry["conditions"][0]["degradation"]
    expected = stats.ttest_rel(dirty, clean).confidence_interval(0.95)
    assert (degradation["ci_low"], degradation["ci_high"]) == pytest.approx(tuple(expected))
    assert degradation["ci_high"] - degradation["ci_low"] < 0.1, "far narrower than the spread of the seeds"
    assert entry["conditions"][0]["pairing_correlation"] == pytest.approx(stats.pearsonr(clean, dirty).statistic)


def test_the_loss_of_accuracy_counts_as_harm_and_scores_keep_their_unit() -> None:
    accuracy = final([[[0.9, 0.8], [0.7, 0.7]]])
    given = results(np.full((1, 2, 2, 1), NAN), accuracy=accuracy, null_accuracy=0.2)
    answer = ask(given, metric="accuracy")
    (entry,) = answer["activations"]
    assert entry["clean"]["mean"] == pytest.approx(0.85)
    assert entry["conditions"][0]["dirty"]["mean"] == pytest.approx(0.7)
    assert entry["conditions"][0]["degradation"]["mean"] == pytest.approx(0.15)
    assert answer["null_score"]["mean"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Harm 0.2, 0.1, 0.3.
        ([[1, 1.2], [1, 1.1], [1, 1.3]], [2, 1, 3]),
        # Dirt helped the first most; that earns nothing, so the better dirty score decides.
        ([[5, 1], [0.5, 0.4], [1, 1.5]], [2, 1, 3]),
        # Equal harm: by the dirty score.
        ([[3, 4], [1, 2], [2, 3]], [3, 1, 2]),
    ],
    ids=["by harm", "negative harm is none", "ties by dirty score"],
)
def test_ranks_by_hand(values: list[list[float]], expected: list[int]) -> None:
    answer = ask(results(final(values)[:, :, None]))
    assert list(ranks(answer).values()) == expected


@pytest.mark.parametrize("seed", range(5))
def test_equal_mean_harm_of_accuracies_in_360ths_is_a_tie(seed: int) -> None:
    """All lose as many of 360 rows on average, spread over the seeds in another way; the dirty score decides."""
    rng = np.random.default_rng(seed)
    right = 300 + rng.permutation(6)[:, None] + np.zeros(10, dtype=int)
    lost = rng.multinomial(97, np.full(10, 0.1), size=6)
    accuracy = np.stack([right, right - lost, right - 2 * lost], axis=1)[..., None] / 360
    given = results(np.full_like(accuracy, NAN), accuracy=accuracy, null_accuracy=0.1, rates=(0.0, 0.1, 0.3))
    expected = (-right[:, 0]).argsort().argsort() + 1
    assert list(ranks(ask(given, metric="accuracy")).values()) == expected.tolist()


def test_ranks_over_several_rates_are_by_the_area_under_the_degradation() -> None:
    """At rates 0.1, 0.2, 0.8: a suffers early and stays, b only at the end and twice as much, yet less in all."""
    rates = (0.0, 0.1, 0.2, 0.8)
    values = final([[[0.0], [1.0], [1.0], [1.0]], [[0.0], [0.0], [0.0], [2.0]]])
    answer = ask(results(values, rates=rates, labels=["a", "b"]))
    # a: (0.05 + 0.1 + 0.6) / 0.8 = 0.9375; b: (0.6 * 1) / 0.8 = 0.75.
    assert ranks(answer) == {"a": 2, "b": 1}


def test_the_order_in_which_rates_were_asked_for_changes_no_rank() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 4, 3, 1))
    sorted_rates = ask(results(values, rates=(0.0, 0.1, 0.2, 0.8)))
    order = [0, 3, 1, 2]
    shuffled = ask(results(values[:, order], rates=(0.0, 0.8, 0.1, 0.2)))
    assert ranks(sorted_rates) == ranks(shuffled)


def test_an_activation_that_diverged_on_clean_data_ranks_last() -> None:
    diverged = np.zeros((2, 2, 2), dtype=bool)
    diverged[0, 0, 1] = True
    values = final([[[0.1, NAN], [0.1, 0.1]], [[1, 1], [9, 9]]])
    answer = ask(results(values, diverged=diverged, labels=["fragile", "harmed"], null_loss=0.5))
    assert ranks(answer) == {"fragile": 2, "harmed": 1}
    assert answer["diverged"] == [{"activation": "fragile", "rate": 0.0, "seed": 1}]
    assert any("diverged" in warning for warning in answer["warnings"])
    assert any("from the epoch of the divergence on" in warning for warning in answer["warnings"])


def test_a_dirty_run_that_diverged_is_scored_as_null_and_not_left_out() -> None:
    diverged = np.zeros((1, 2, 2), dtype=bool)
    diverged[0, 1, 0] = True
    answer = ask(results(final([[[0.1, 0.1], [NAN, 0.2]]]), diverged=diverged, null_loss=0.7))
    (entry,) = answer["activations"]
    assert entry["conditions"][0]["dirty"] == {
        "mean": pytest.approx(0.45), "sd": pytest.approx(0.5 / math.sqrt(2)), "n": 2,
    }  # fmt: skip
    assert answer["missing_pairs"] == []


def test_as_long_as_a_run_is_missing_there_are_no_ranks() -> None:
    complete = np.ones((3, 2, 2), dtype=bool)
    complete[1, 1, 0] = False
    answer = ask(results(BY_HAND, complete=complete))
    assert answer["complete"] is False
    assert set(ranks(answer).values()) == {None}
    assert answer["null_score"] == {"mean": None}


def test_a_pair_of_which_one_half_is_missing_is_listed_and_used_nowhere() -> None:
    values = final([[[1.0, 1.0, 50.0, 1.0], [2.0, 3.0, 4.0, 70.0]]])
    complete = np.ones((1, 2, 4), dtype=bool)
    complete[0, 0, 2] = complete[0, 1, 3] = False
    answer = ask(results(values, complete=complete, labels=["a"]))
    assert answer["missing_pairs"] == [
        {"activation": "a", "rate": 0.1, "seed": 2},
        {"activation": "a", "rate": 0.1, "seed": 3},
    ]
    degradation = answer["activations"][0]["conditions"][0]["degradation"]
    assert (degradation["mean"], degradation["n"]) == (1.5, 2)
    assert answer["activations"][0]["clean"]["n"] == 3


def test_an_experiment_that_has_just_begun_is_answered_without_numbers() -> None:
    given = results(np.full((2, 2, 3, 4), NAN), null_loss=NAN, complete=False)
    answer = ask(given, include_curves=True, include_raw=True)
    assert answer["complete"] is False
    assert answer["margin"] == {"value": None, "declared": False}
    for entry in answer["activations"]:
        assert entry["clean"] == {"mean": None, "sd": None, "n": 0}
        degradation = entry["conditions"][0]["degradation"]
        assert degradation.pop("n") == 0
        assert set(degradation.values()) == {None}
    assert len(answer["missing_pairs"]) == 6


def test_a_single_seed_has_means_and_ranks_but_no_interval() -> None:
    answer = ask(results(final([[[1.0], [2.0]], [[1.0], [1.5]]])))
    assert ranks(answer) == {"act0": 2, "act1": 1}
    degradation = answer["activations"][0]["conditions"][0]["degradation"]
    assert degradation == {
        "mean": 1.0, "sd": None, "n": 1, "iqm": 1.0, "ci_low": None, "ci_high": None, "p_value": None,
        "effect_size": None,
    }  # fmt: skip
    assert answer["activations"][0]["conditions"][0]["pairing_correlation"] is None
    assert any("too few" in warning for warning in answer["warnings"])


def test_a_degradation_without_spread_is_warned_about() -> None:
    answer = ask(results(final([[[1.0] * 6, [2.0] * 6]])))
    assert answer["activations"][0]["conditions"][0]["degradation"]["ci_low"] is None
    assert any("no interval" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    ("changes", "margin"),
    [
        ({}, {"value": 0.1, "declared": False}),
        ({"declared_margin": 0.3}, {"value": 0.3, "declared": True}),
        ({"metric": "accuracy"}, {"value": 0.01, "declared": False}),
        ({"metric": "accuracy", "declared_margin": 0.05}, {"value": 0.05, "declared": True}),
    ],
    ids=str,
)
def test_the_margin_is_the_declared_one_or_a_share_of_the_null(changes: dict[str, Any], margin: dict[str, Any]) -> None:
    given = results(BY_HAND, null_loss=2.0, accuracy=BY_HAND / 10, null_accuracy=0.1)
    assert ask(given, **changes)["margin"] == margin


def test_only_the_rates_asked_for_are_reported() -> None:
    values = np.random.default_rng(0).normal(size=(2, 4, 3, 2))
    given = results(values, rates=(0.0, 0.4, 0.1, 0.2))
    answer = ask(given, rates=(0.1, 0.4), include_raw=True, include_curves=True)
    for entry in answer["activations"]:
        assert [condition["rate"] for condition in entry["conditions"]] == [0.1, 0.4]
        assert {point["rate"] for point in entry["curve"]} == {0.1, 0.4}
    assert {row["rate"] for row in answer["raw"]} == {0.1, 0.4}
    assert answer["activations"][0]["conditions"][0]["dirty"]["mean"] == pytest.approx(values[0, 2, :, -1].mean())
    assert ranks(answer) == ranks(ask(given)), "ranks are those of the whole sweep"


def test_curves_and_raw_scores_come_only_when_asked_for() -> None:
    answer = ask(results(BY_HAND))
    assert {"raw", "pairs"}.isdisjoint(answer)
    assert all("curve" not in entry for entry in answer["activations"])


def test_a_curve_holds_the_means_of_every_epoch_with_their_intervals() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(2, 2, 6, 3))
    answer = ask(results(values), include_curves=True)
    for a, entry in enumerate(answer["activations"]):
        assert [point["epoch"] for point in entry["curve"]] == [1, 2, 3]
        for e, point in enumerate(entry["curve"]):
            clean, dirty = values[a, :, :, e]
            assert point["clean"] == pytest.approx(clean.mean())
            assert point["dirty"] == pytest.approx(dirty.mean())
            assert point["degradation"] == pytest.approx((dirty - clean).mean())
            expected = stats.ttest_rel(dirty, clean).confidence_interval(0.95)
            assert (point["ci_low"], point["ci_high"]) == pytest.approx(tuple(expected))
            assert point["band_low"] < point["ci_low"] < point["ci_high"] < point["band_high"]


def test_the_last_point_of_a_curve_is_the_final_score() -> None:
    values = np.random.default_rng(3).normal(size=(1, 2, 5, 4))
    (entry,) = ask(results(values), include_curves=True)["activations"]
    assert entry["curve"][-1]["degradation"] == pytest.approx(entry["conditions"][0]["degradation"]["mean"])


def test_a_curve_of_accuracy_is_in_accuracy() -> None:
    accuracy = np.array([[[[0.5, 0.9]], [[0.4, 0.7]]]])
    given = results(np.full((1, 2, 1, 2), NAN), accuracy=accuracy, null_accuracy=0.1)
    (entry,) = ask(given, metric="accuracy", include_curves=True)["activations"]
    assert [(point["clean"], point["dirty"]) for point in entry["curve"]] == [
        (pytest.approx(0.5), pytest.approx(0.4)),
        (pytest.approx(0.9), pytest.approx(0.7)),
    ]
    assert [point["degradation"] for point in entry["curve"]] == pytest.approx([0.1, 0.2])


def test_anyone_can_recompute_the_answer_from_the_raw_scores() -> None:
    values = np.random.default_rng(4).normal(size=(3, 3, 5, 2))
    answer = ask(results(values, rates=(0.0, 0.1, 0.4)), include_raw=True)
    assert len(answer["raw"]) == 3 * 2 * 5
    for entry in answer["activations"]:
        for condition in entry["conditions"]:
            differences = [
                row["dirty"] - row["clean"]
                for row in answer["raw"]
                if (row["activation"], row["rate"]) == (entry["activation"], condition["rate"])
            ]
            assert condition["degradation"]["mean"] == pytest.approx(np.mean(differences), abs=1e-12)
            assert condition["degradation"]["sd"] == pytest.approx(np.std(differences, ddof=1), abs=1e-12)


numbers = st.sampled_from([NAN, 0.0, 1.0, -2.5, 0.3])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(numbers, min_size=24, max_size=24),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.sampled_from(["final", "best", "last5", "epoch:1"]),
    st.sampled_from(["loss", "accuracy"]),
    st.sampled_from([0.0, 0.25]),
)
def test_whatever_is_missing_the_answer_is_json_without_nan(
    values: list[float], complete: list[bool], diverged: list[bool], score: str, metric: str, overlap: float
) -> None:
    array = np.array(values).reshape(2, 2, 3, 2)
    given = results(
        array,
        accuracy=np.abs(array) / 3,
        null_accuracy=0.2,
        complete=np.array(complete).reshape(2, 2, 3),
        diverged=np.array(diverged).reshape(2, 2, 3),
    )
    everything = {"include_curves": True, "include_pairs": True, "include_raw": True}
    answer = ask(given, metric=metric, score=score, overlap=overlap, reference="act1", **everything)
    assert answer["complete"] is all(complete)
