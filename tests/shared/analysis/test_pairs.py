import json
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from shared.analysis.multiplicity import step_down
from shared.analysis.question import Question
from shared.analysis.robustness import compare
from shared.analysis.scores import Results
from shared.analysis.statistics import Array
from tests.shared.analysis.results import results

NAN = np.nan


def ask(given: Results, **changes: Any) -> dict[str, Any]:
    question: dict[str, Any] = {
        "metric": "loss", "score": "final", "rates": given.rates[1:], "declared_margin": None, "include_pairs": True,
    }  # fmt: skip
    answer = compare(given, Question(**{**question, **changes}))
    json.dumps(answer, allow_nan=False)
    return answer


def chosen(answer: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [pair for pair in answer["pairs"] if all(pair[name] == value for name, value in wanted.items())]


def random_scores(num_activations: int, num_rates: int, num_seeds: int, seed: int = 0) -> Array:
    """(A, R, S, 1): activations lose differently much."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(1, 0.2, size=(1, 1, num_seeds)) + rng.normal(0, 0.05, (num_activations, num_rates, num_seeds))
    scores += np.arange(num_activations)[:, None, None] * np.arange(num_rates)[None, :, None] * 0.08
    return np.asarray(scores[..., None])


def test_every_number_of_a_pair_is_that_of_an_independent_library() -> None:
    scores = random_scores(3, 2, 9)
    answer = ask(results(scores, labels=["a", "b", "c"]))
    (pair,) = chosen(answer, of="degradation", a="a", b="c")
    degradation = (scores[:, 1] - scores[:, 0])[..., 0]
    delta = degradation[0] - degradation[2]
    interval = stats.ttest_1samp(delta, 0).confidence_interval(0.95)
    assert pair["difference"] == pytest.approx(delta.mean(), abs=1e-9)
    assert (pair["ci_low"], pair["ci_high"]) == pytest.approx(tuple(interval), abs=1e-9)
    assert pair["effect_size"] == pytest.approx(delta.mean() / delta.std(ddof=1) * (1 - 3 / 31), abs=1e-9)
    expected = stats.permutation_test(
        (degradation[0], degradation[2]), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=2**9
    ).pvalue
    assert pair["p_value"] == pytest.approx(expected, abs=1e-12)
    lower = int((delta < 0).sum())
    share = pair["probability_a_lower"]
    assert share["value"] == pytest.approx(lower / 9)
    assert (share["ci_low"], share["ci_high"]) == pytest.approx(proportion_confint(lower, 9, method="beta"))
    assert pair["family"] == "primary"
    (dirty,) = chosen(answer, of="dirty", a="a", b="c")
    assert dirty["difference"] == pytest.approx((scores[0, 1] - scores[2, 1]).mean(), abs=1e-9)
    assert dirty["family"] == "exploratory"


def test_adjusted_values_are_over_all_pairs_of_a_family() -> None:
    scores = random_scores(4, 2, 8)
    answer = ask(results(scores))
    degradation = (scores[:, 1] - scores[:, 0])[..., 0]
    a, b = np.triu_indices(4, k=1)
    _, adjusted = step_down(degradation[a] - degradation[b])
    assert [pair["p_adjusted"] for pair in chosen(answer, of="degradation")] == pytest.approx(adjusted)


def test_of_several_rates_the_primary_family_is_the_area_under_the_degradation() -> None:
    scores = random_scores(3, 4, 8)
    answer = ask(results(scores, rates=(0.0, 0.1, 0.2, 0.4)), rates=(0.2,))
    primary = chosen(answer, family="primary")
    assert {(pair["of"], pair["rate"]) for pair in primary} == {("audc", None)}
    assert len(primary) == 3
    others = {(pair["of"], pair["rate"]) for pair in answer["pairs"]} - {("audc", None)}
    assert others == {("degradation", 0.2), ("dirty", 0.2)}, "only for the rates that were asked for"
    grid = [0.0, 0.1, 0.2, 0.4]
    degradation = (scores - scores[:, :1])[..., 0]
    area = np.asarray(np.trapezoid(degradation, grid, axis=1) / 0.4)
    assert [pair["difference"] for pair in primary] == pytest.approx(
        [(area[a] - area[b]).mean() for a, b in ((0, 1), (0, 2), (1, 2))], abs=1e-9
    )


def test_what_the_query_chose_is_exploratory_altogether() -> None:
    answer = ask(results(random_scores(2, 2, 6)), exploratory=True)
    assert {pair["family"] for pair in answer["pairs"]} == {"exploratory"}


def test_ties_count_half_and_the_interval_is_rounded_outward() -> None:
    """Accuracies in hundredths; the losses of a and b are alike in three of eight seeds, though not bit for bit."""
    clean = np.array([[0.90, 0.80, 0.70, 0.95, 0.85, 0.75, 0.65, 0.99], [0.80, 0.70, 0.60, 0.9, 0.9, 0.9, 0.9, 0.9]])
    lost = np.array(
        [[0.10, 0.20, 0.07, 0.01, 0.01, 0.01, 0.01, 0.02], [0.10, 0.20, 0.07, 0.02, 0.02, 0.02, 0.02, 0.01]]
    )
    accuracy = np.stack([clean, (clean - lost).round(2)], axis=1)[..., None]
    given = results(np.full_like(accuracy, NAN), accuracy=accuracy, null_accuracy=0.1)
    (pair,) = chosen(ask(given, metric="accuracy"), of="degradation")
    low, _ = proportion_confint(5, 8, method="beta")
    _, high = proportion_confint(6, 8, method="beta")
    assert pair["probability_a_lower"] == {
        "value": 5.5 / 8, "ci_low": pytest.approx(low), "ci_high": pytest.approx(high),
    }  # fmt: skip


def test_pairs_of_twins_have_no_spread_and_disturb_nobody() -> None:
    scores = random_scores(3, 2, 8)
    scores[1] = scores[0]
    twins, *others = chosen(ask(results(scores, labels=["a", "b", "c"])), of="degradation")
    assert (twins["difference"], twins["probability_a_lower"]["value"]) == (0.0, 0.5)
    assert {twins[name] for name in ("ci_low", "ci_high", "effect_size", "p_value", "p_adjusted")} == {None}
    assert all(pair["p_adjusted"] is not None for pair in others)


def test_a_run_that_diverged_makes_no_other_pair_worse() -> None:
    scores = random_scores(3, 2, 8)
    diverged = np.zeros((3, 2, 8), dtype=bool)
    calm = chosen(ask(results(scores, labels=["a", "b", "c"])), of="degradation", a="a", b="b")
    scores[2, 1, 3] = 1e300
    diverged[2, 1, 3] = True
    wild = chosen(ask(results(scores, labels=["a", "b", "c"], diverged=diverged)), of="degradation", a="a", b="b")
    assert [pair["difference"] for pair in wild] == [pair["difference"] for pair in calm]
    assert [pair["p_value"] for pair in wild] == [pair["p_value"] for pair in calm]


def test_before_the_end_pairs_have_no_p_values() -> None:
    complete = np.ones((2, 2, 8), dtype=bool)
    complete[0, 1, 2] = False
    (pair,) = chosen(ask(results(random_scores(2, 2, 8), complete=complete)), of="degradation")
    assert pair["difference"] is not None
    assert (pair["p_value"], pair["p_adjusted"]) == (None, None)


def test_overlapping_splits_leave_pairs_the_t_interval_only() -> None:
    scores = random_scores(2, 2, 8)
    (pair,) = chosen(ask(results(scores), overlap=0.25), of="degradation")
    degradation = (scores[:, 1] - scores[:, 0])[..., 0]
    delta = degradation[0] - degradation[1]
    half_width = stats.t.ppf(0.975, 7) * delta.std(ddof=1) * np.sqrt(1 / 8 + 0.25)
    assert pair["ci_high"] == pytest.approx(delta.mean() + half_width, abs=1e-9)
    assert (pair["p_value"], pair["p_adjusted"]) == (None, None)
    assert set(pair["probability_a_lower"].values()) == {None}


def test_one_activation_has_nobody_to_be_compared_with() -> None:
    answer = ask(results(random_scores(1, 2, 8)))
    assert answer["pairs"] == []
    (entry,) = answer["activations"]
    assert (entry["rank"], entry["rank_low"], entry["rank_high"]) == (1, 1, 1)


def test_the_ends_of_a_rank_count_who_is_significantly_better_and_worse() -> None:
    """Three activations far apart, and a fourth beside the third."""
    rng = np.random.default_rng(0)
    clean = rng.normal(1, 0.1, size=(4, 10))
    dirty = clean + np.array([0.1, 0.2, 0.3, 0.301])[:, None] + rng.normal(0, 0.01, size=(4, 10))
    entries = ask(results(np.stack([clean, dirty], axis=1)[..., None], null_loss=9.0))["activations"]
    assert [(entry["rank_low"], entry["rank_high"]) for entry in entries] == [(1, 1), (2, 2), (3, 4), (3, 4)]
    for entry in entries:
        assert entry["rank_low"] <= entry["rank"] <= entry["rank_high"]


def test_below_six_seeds_every_activation_may_stand_anywhere() -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(1, 0.1, size=(3, 5))
    dirty = clean + np.array([0.1, 0.2, 0.3])[:, None] + rng.normal(0, 0.001, size=(3, 5))
    answer = ask(results(np.stack([clean, dirty], axis=1)[..., None], null_loss=9.0))
    assert {(entry["rank_low"], entry["rank_high"]) for entry in answer["activations"]} == {(1, 3)}
    assert any("no pair" in warning for warning in answer["warnings"])
