import json
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from shared.analysis.question import Question
from shared.analysis.robustness import compare
from shared.analysis.scores import Results
from shared.analysis.statistics import Array
from tests.shared.analysis.results import results

NAN = np.nan


def ask(given: Results, **changes: Any) -> dict[str, Any]:
    question: dict[str, Any] = {"metric": "loss", "score": "final", "rates": given.rates[1:], "declared_margin": None}
    answer = compare(given, Question(**{**question, **changes}))
    json.dumps(answer, allow_nan=False)
    return answer


def random_losses(num_seeds: int, seed: int = 0) -> Array:
    """(A, R, S, 1) of three activations at clean and two rates."""
    rng = np.random.default_rng(seed)
    clean = rng.normal(0.3, 0.03, size=(3, 1, num_seeds))
    lost = np.array([0.01, 0.05, 0.2])[:, None, None] * np.array([1.0, 2.0])[None, :, None]
    dirty = clean + lost * rng.normal(1, 0.2, size=(3, 2, num_seeds))
    return np.concatenate([clean, dirty], axis=1)[..., None]


def conditions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [condition for entry in answer["activations"] for condition in entry["conditions"]]


@pytest.mark.parametrize("num_seeds", [6, 10])
def test_every_number_of_a_condition_is_that_of_an_independent_library(num_seeds: int) -> None:
    losses = random_losses(num_seeds)
    answer = ask(results(losses, rates=(0.0, 0.1, 0.2), labels=["a", "b", "c"]), declared_margin=0.06, reference="b")
    for a, entry in enumerate(answer["activations"]):
        for r, condition in enumerate(entry["conditions"], start=1):
            clean, dirty = losses[a, 0, :, 0], losses[a, r, :, 0]
            _check_degradation(condition["degradation"], dirty - clean)
            _check_against_margin(condition, dirty - clean, 0.06)
            _check_normalized(condition["normalized"], dirty - clean, 1.0 - clean)
            assert condition["pairing_correlation"] == pytest.approx(stats.pearsonr(clean, dirty).statistic, abs=1e-9)
            assert condition["relative_error"] == pytest.approx(100 * dirty.mean() / losses[1, r].mean(), abs=1e-9)
        relative = 100 * losses[a, 1:].mean() / losses[1, 1:].mean()
        assert entry["relative_error"] == pytest.approx(relative, abs=1e-9)
        _check_area(entry["audc"], losses[a, :, :, 0])


def _check_degradation(shown: dict[str, Any], d: Array) -> None:
    n = len(d)
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    p = stats.permutation_test(
        (d, np.zeros(n)), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=2**n
    ).pvalue
    assert shown == {
        "mean": pytest.approx(d.mean(), abs=1e-9), "sd": pytest.approx(d.std(ddof=1), abs=1e-9), "n": n,
        "iqm": pytest.approx(stats.trim_mean(d, 0.25), abs=1e-9), "ci_low": pytest.approx(interval.low, abs=1e-9),
        "ci_high": pytest.approx(interval.high, abs=1e-9), "p_value": pytest.approx(p, abs=1e-9),
        "effect_size": pytest.approx(d.mean() / d.std(ddof=1) * (1 - 3 / (4 * n - 5)), abs=1e-9),
    }  # fmt: skip


def _check_against_margin(condition: dict[str, Any], d: Array, margin: float) -> None:
    lower, upper = (stats.ttest_1samp(d, margin, alternative=side).pvalue for side in ("less", "greater"))
    assert condition["noninferiority_p"] == pytest.approx(lower, abs=1e-9)
    assert condition["inferiority_p"] == pytest.approx(upper, abs=1e-9)
    equivalence, *_ = ttost_paired(d, np.zeros_like(d), -margin, margin)
    assert condition["equivalence_p"] == pytest.approx(equivalence, abs=1e-9)
    assert condition["smallest_margin"] == condition["degradation"]["ci_high"]
    beyond = int((d > margin).sum())
    low, high = proportion_confint(beyond, len(d), method="beta")
    assert condition["share_beyond_margin"] == {
        "value": beyond / len(d), "ci_low": pytest.approx(low, abs=1e-9), "ci_high": pytest.approx(high, abs=1e-9),
    }  # fmt: skip


def _check_normalized(shown: dict[str, Any], d: Array, k: Array) -> None:
    value = d.mean() / k.mean()

    def distance(q: float) -> float:
        low, high = stats.ttest_1samp(d - q * k, 0).confidence_interval(0.95)
        return float(low * high)

    assert shown == {
        "value": pytest.approx(value, abs=1e-9),
        "ci_low": pytest.approx(optimize.brentq(distance, value - 2, value), abs=1e-9),
        "ci_high": pytest.approx(optimize.brentq(distance, value, value + 2), abs=1e-9),
    }


def _check_area(shown: dict[str, Any], losses: Array) -> None:
    area = np.trapezoid(losses - losses[0], [0.0, 0.1, 0.2], axis=0) / 0.2
    interval = stats.ttest_1samp(area, 0).confidence_interval(0.95)
    assert shown == {
        "mean": pytest.approx(area.mean(), abs=1e-9), "ci_low": pytest.approx(interval.low, abs=1e-9),
        "ci_high": pytest.approx(interval.high, abs=1e-9),
    }  # fmt: skip


def test_verdicts_say_what_was_shown_and_whether_somebody_chose_the_margin() -> None:
    given = results(random_losses(10), rates=(0.0, 0.1, 0.2))
    declared = conditions(ask(given, declared_margin=0.06))
    assert [condition["verdict"] for condition in declared] == [
        "robust", "robust", "robust", "harmed", "harmed", "harmed",
    ]  # fmt: skip
    assert {condition["provisional"] for condition in declared} == {False}
    assert {condition["provisional"] for condition in conditions(ask(given))} == {True}


def test_verdicts_do_not_depend_on_the_rates_that_are_looked_at() -> None:
    given = results(random_losses(10), rates=(0.0, 0.1, 0.2))
    everything = ask(given)
    only = ask(given, rates=(0.2,))
    for whole, part in zip(everything["activations"], only["activations"], strict=True):
        assert part["conditions"] == whole["conditions"][1:]
        assert {**part, "conditions": []} == {**whole, "conditions": []}


@pytest.mark.parametrize("num_seeds", [1, 2, 4])
def test_few_seeds_give_estimates_and_no_conclusion(num_seeds: int) -> None:
    answer = ask(
        results(random_losses(num_seeds), rates=(0.0, 0.1, 0.2)),
        include_curves=True, include_pairs=True, include_raw=True, reference="act0",
    )  # fmt: skip
    for condition in conditions(answer):
        assert condition["verdict"] == "inconclusive"
        assert condition["degradation"]["mean"] is not None
        assert condition["normalized"]["value"] is not None
        assert (condition["degradation"]["ci_low"] is None) == (num_seeds == 1)
    assert any("too few" in warning for warning in answer["warnings"])


def test_without_spread_there_is_neither_interval_nor_p_nor_verdict() -> None:
    """The degradation is 0.1 in every seed on paper, and off by rounding in floating point."""
    accuracy = np.array([[[0.9, 0.8, 0.7, 0.85, 0.75, 0.95], [0.8, 0.7, 0.6, 0.75, 0.65, 0.85]]])[..., None]
    given = results(np.full_like(accuracy, NAN), accuracy=accuracy, null_accuracy=0.1)
    answer = ask(given, metric="accuracy")
    (condition,) = conditions(answer)
    degradation = condition["degradation"]
    assert degradation["mean"] == pytest.approx(0.1)
    assert degradation["sd"] == 0
    assert {degradation[name] for name in ("ci_low", "ci_high", "p_value", "effect_size")} == {None}
    assert {condition[name] for name in ("noninferiority_p", "inferiority_p", "equivalence_p")} == {None}
    assert condition["verdict"] == "inconclusive"
    assert any("no interval" in warning for warning in answer["warnings"])


def test_without_spread_it_may_still_be_shown_that_nothing_was_learned() -> None:
    answer = ask(results(np.array([[[0.99] * 6, [1.0] * 6]])[..., None]))
    assert conditions(answer)[0]["verdict"] == "not_learned"
    (warning,) = [warning for warning in answer["warnings"] if "no interval" in warning]
    assert "no verdict" not in warning
    assert "neither 'robust' nor 'harmed'" in warning


def test_a_degradation_of_just_the_margin_is_not_beyond_it() -> None:
    accuracy = np.array([[[0.95, 0.8, 0.7, 0.9], [0.93, 0.78, 0.68, 0.7]]])[..., None]
    given = results(np.full_like(accuracy, NAN), accuracy=accuracy, null_accuracy=0.1)
    (condition,) = conditions(ask(given, metric="accuracy", declared_margin=0.02))
    assert condition["share_beyond_margin"]["value"] == 0.25


def test_what_has_not_learned_is_said_so_and_ranks_last() -> None:
    losses = random_losses(8)
    losses[0] += 1.0
    answer = ask(results(losses, rates=(0.0, 0.1, 0.2), labels=["lazy", "b", "c"]))
    lazy, *others = answer["activations"]
    assert {condition["verdict"] for condition in lazy["conditions"]} == {"not_learned"}
    assert (lazy["rank"], lazy["rank_low"] <= 3 <= lazy["rank_high"]) == (3, True)
    assert {entry["rank"] for entry in others} == {1, 2}
    assert any("lazy" in warning for warning in answer["warnings"])


def test_who_does_worse_than_the_null_score_has_no_share_to_lose() -> None:
    losses = random_losses(8)
    losses[0] += 1.0
    worse, *_ = ask(results(losses, rates=(0.0, 0.1, 0.2)))["activations"]
    for condition in worse["conditions"]:
        assert condition["normalized"] == {"value": None, "ci_low": None, "ci_high": None}
    nothing = {"value": None, "ci_low": None, "ci_high": None, "censored_above": None}
    assert worse["breakdown_rate"] == nothing


def three_that_lose(clean_A: list[float], lost_A: list[float]) -> Array:
    """(A, R, S, 1) of three activations far apart from each other, over ten seeds."""
    rng = np.random.default_rng(0)
    clean = np.array(clean_A)[:, None] + rng.normal(0, 0.01, size=(3, 10))
    dirty = clean + np.array(lost_A)[:, None] + rng.normal(0, 0.005, size=(3, 10))
    return np.stack([clean, dirty], axis=1)[..., None]


def places(answer: dict[str, Any]) -> list[tuple[int, int, int]]:
    return [(entry["rank_low"], entry["rank"], entry["rank_high"]) for entry in answer["activations"]]


@pytest.mark.parametrize("lost", [0.0, 0.5], ids=["least", "most"])
def test_what_has_not_learned_stands_last_and_moves_nobody_whatever_it_loses(lost: float) -> None:
    losses = three_that_lose([1.2, 0.3, 0.3], [lost, 0.1, 0.2])
    assert places(ask(results(losses))) == [(3, 3, 3), (1, 1, 2), (2, 2, 3)]


def test_what_diverged_on_clean_data_stands_last_and_moves_nobody() -> None:
    losses = three_that_lose([0.3, 0.3, 0.3], [0.0, 0.1, 0.2])
    diverged = np.zeros((3, 2, 10), dtype=bool)
    diverged[0, 0, 0] = True
    assert places(ask(results(losses, diverged=diverged))) == [(3, 3, 3), (1, 1, 2), (2, 2, 3)]


def test_several_that_did_not_learn_stand_between_their_own_rank_and_the_last() -> None:
    losses = three_that_lose([1.2, 0.3, 1.2], [0.3, 0.1, 0.2])
    assert places(ask(results(losses))) == [(3, 3, 3), (1, 1, 3), (2, 2, 3)]


def test_of_two_that_dirt_helped_none_is_better() -> None:
    losses = three_that_lose([0.3, 0.3, 0.3], [-0.2, -0.1, 0.1])
    answer = ask(results(losses), include_pairs=True)
    helped = next(
        pair for pair in answer["pairs"] if (pair["of"], pair["a"], pair["b"]) == ("degradation", "act0", "act1")
    )
    assert helped["p_adjusted"] < 0.05, "by their difference alone one of them would be"
    assert places(answer) == [(1, 1, 2), (1, 2, 2), (3, 3, 3)]


@pytest.mark.parametrize("rate", [0, 1], ids=["clean", "dirty"])
def test_a_diverged_run_rules_out_robust(rate: int) -> None:
    rng = np.random.default_rng(1)
    clean = rng.normal(0.3, 0.0001, size=(1, 1, 60))
    losses = np.concatenate([clean, clean + rng.normal(0, 1e-5, size=clean.shape)], axis=1)[..., None]
    calm = ask(results(losses), declared_margin=0.2)
    assert conditions(calm)[0]["verdict"] == "robust"
    diverged = np.zeros((1, 2, 60), dtype=bool)
    diverged[0, rate, 0] = True
    answer = ask(results(losses, diverged=diverged, num_measured=1), declared_margin=0.2)
    (condition,) = conditions(answer)
    assert condition["noninferiority_p"] < 1e-6, "by its p alone it would be robust"
    assert condition["verdict"] == "inconclusive"
    assert any("rules out 'robust'" in warning for warning in answer["warnings"])


def test_before_the_end_there_are_neither_verdicts_nor_p_values_nor_ranks() -> None:
    complete = np.ones((3, 3, 8), dtype=bool)
    complete[2, 2, 7] = False
    answer = ask(results(random_losses(8), rates=(0.0, 0.1, 0.2), complete=complete), include_curves=True)
    assert answer["complete"] is False
    for entry in answer["activations"]:
        assert (entry["rank"], entry["rank_low"], entry["rank_high"]) == (None, None, None)
    for condition in conditions(answer):
        tests = ("noninferiority_p", "inferiority_p", "equivalence_p", "verdict")
        assert {condition[name] for name in tests} | {condition["degradation"]["p_value"]} == {None}
        assert condition["provisional"] is False
        assert condition["degradation"]["ci_low"] is not None


def test_overlapping_splits_leave_t_intervals_and_t_tests_of_a_wider_variance() -> None:
    losses = random_losses(8)
    answer = ask(
        results(losses, rates=(0.0, 0.1, 0.2)), overlap=0.5, declared_margin=0.06, include_curves=True
    )  # fmt: skip
    assert answer["approximate"] is True
    for a, entry in enumerate(answer["activations"]):
        assert isinstance(entry["rank"], int)
        assert (entry["rank_low"], entry["rank_high"]) == (None, None)
        for r, condition in enumerate(entry["conditions"], start=1):
            d = (losses[a, r] - losses[a, 0])[:, 0]
            error = d.std(ddof=1) * np.sqrt(1 / 8 + 0.5)
            assert condition["degradation"]["ci_high"] == pytest.approx(d.mean() + stats.t.ppf(0.975, 7) * error)
            assert condition["noninferiority_p"] == pytest.approx(stats.t.cdf((d.mean() - 0.06) / error, 7), abs=1e-9)
            assert condition["degradation"]["p_value"] is None
            assert condition["share_beyond_margin"]["ci_low"] is None
        for point in entry["curve"]:
            assert (point["band_low"], point["band_high"]) == (None, None)
            assert point["ci_low"] is not None
    assert any("Nadeau" in warning for warning in answer["warnings"])


def test_a_fixed_split_is_said_to_describe_retraining() -> None:
    answer = ask(results(random_losses(8), rates=(0.0, 0.1, 0.2)), fixed_split=True)
    assert any("retraining" in warning for warning in answer["warnings"])
    assert "approximate" not in answer


def test_the_gap_to_the_best_epoch_is_read_on_the_half_that_did_not_select() -> None:
    """Half A picks epoch 1 of the clean run and epoch 2 of the dirty one; of ten rows five are in A."""
    losses = [[[[0.4, 0.5, 0.6]], [[0.5, 0.4, 0.7]]]]
    half_a = [[[[0.3, 0.5, 0.5]], [[0.5, 0.3, 0.6]]]]
    (condition,) = conditions(ask(results(losses, loss_a=half_a)))
    # On B: clean 0.5, 0.5, 0.7 and dirty 0.5, 0.5, 0.8.
    assert condition["best_last_gap"] == {"clean": pytest.approx(0.2), "dirty": pytest.approx(0.3)}


@pytest.mark.parametrize(
    ("score", "expected"), [("final", 0.6), ("epoch:2", 0.2), ("last5", (0.1 + 0.2 + 0.6) / 3), ("best", 0.2)]
)
def test_memory_of_the_dirt_is_that_of_the_epochs_of_the_score(score: str, expected: float) -> None:
    losses = [[[[0.4, 0.5, 0.6]] * 2, [[0.5, 0.4, 0.7]] * 2]]
    memorization = np.full((1, 2, 2, 3), NAN)
    memorization[0, 1] = [[0.1, 0.2, 0.5], [0.1, 0.2, 0.7]]
    (condition,) = conditions(ask(results(losses, memorization=memorization), score=score))
    assert condition["memorization"] == pytest.approx(expected)
    assert condition["recovery"] is None


def test_without_a_reference_there_is_no_relative_error() -> None:
    answer = ask(results(random_losses(6), rates=(0.0, 0.1, 0.2)))
    assert {condition["relative_error"] for condition in conditions(answer)} == {None}
    assert {entry["relative_error"] for entry in answer["activations"]} == {None}


def test_what_holds_out_is_censored_at_the_largest_rate() -> None:
    hardy, _, tender = ask(results(random_losses(8), rates=(0.0, 0.1, 0.2)))["activations"]
    assert hardy["breakdown_rate"] == {"value": None, "ci_low": None, "ci_high": None, "censored_above": 0.2}
    # K is 0.7 on average, D 0.2 and 0.4 at the two rates.
    assert 0.1 < tender["breakdown_rate"]["value"] < 0.2
    assert tender["breakdown_rate"]["censored_above"] is None
