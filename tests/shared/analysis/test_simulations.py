"""What intervals, bands and verdicts promise, counted in simulated experiments whose truth is known."""

from collections import Counter

import numpy as np
import pytest

from shared.analysis.curves import simultaneous_band
from shared.analysis.precision import Reach, reach
from shared.analysis.question import CONFIDENCE, CONFIDENCE_WITH_TARGET, Question
from shared.analysis.robustness import compare
from shared.analysis.statistics import Array, ratio_of_means, t_interval
from shared.analysis.sweep import breakdown_rate
from tests.shared.analysis.results import results

NUM_SEEDS = 10
MARGIN, SD = 0.005, 0.0015


def share_holding(low: Array, truth: float, high: Array) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def test_t_intervals_of_ten_normal_differences_hold_the_truth_in_95_of_100() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, size=(20_000, NUM_SEEDS))
    assert 0.945 < share_holding(*t_around(differences)) < 0.955


def t_around(differences: Array) -> tuple[Array, float, Array]:
    low, high = t_interval(differences, 0.95)
    return low, 0.3, high


def test_fiellers_interval_holds_the_ratio_in_95_of_100() -> None:
    rng = np.random.default_rng(1)
    learned = rng.normal(1, 0.3, size=(20_000, NUM_SEEDS))
    lost = 0.2 * learned + rng.normal(0, 0.2, size=learned.shape)
    ratio = ratio_of_means(lost, learned, 0.95)
    assert 0.94 < share_holding(ratio.low, 0.2, ratio.high) < 0.96


@pytest.mark.parametrize("autocorrelation", [0.0, 0.9])
def test_bands_over_autocorrelated_curves_hold_the_whole_truth_in_95_of_100(autocorrelation: float) -> None:
    rng = np.random.default_rng(2)
    shocks = rng.normal(size=(1500, 30, NUM_SEEDS))
    curves = np.empty_like(shocks)
    curves[:, 0] = shocks[:, 0]
    for epoch in range(1, 30):
        fresh = np.sqrt(1 - autocorrelation**2) * shocks[:, epoch]
        curves[:, epoch] = autocorrelation * curves[:, epoch - 1] + fresh
    low, high = simultaneous_band(curves, 0.95)
    share = float(((low <= 0) & (high >= 0)).all(axis=1).mean())
    assert 0.93 < share < 0.97


def test_the_interval_of_the_breakdown_rate_holds_it_in_95_of_100() -> None:
    """D rises in proportion to the rate, K is 1: half is lost at 0.42, between two rates of the sweep."""
    rng = np.random.default_rng(3)
    rates = np.array([0.1, 0.2, 0.4, 0.6, 0.8])
    slope = rng.normal(0.5 / 0.42, 0.2, size=(2000, 1, NUM_SEEDS))
    degradation = slope * rates[:, None] + rng.normal(0, 0.03, size=(2000, 5, NUM_SEEDS))
    found = breakdown_rate(degradation, rng.normal(1, 0.02, size=(2000, NUM_SEEDS)), rates, confidence=0.95)
    share = share_holding(np.nan_to_num(found.low, nan=0), 0.42, np.nan_to_num(found.high, nan=1))
    assert 0.93 < share < 0.97


def verdicts_of(degradation: float, num_experiments: int = 60) -> Counter[str]:
    """Of experiments with seven activations that all lose this much."""
    rng = np.random.default_rng(4)
    found: Counter[str] = Counter()
    for _ in range(num_experiments):
        clean = rng.normal(0.03, 0.002, size=(7, NUM_SEEDS))
        dirty = clean + rng.normal(degradation, SD, size=clean.shape)
        given = results(np.stack([clean, dirty], axis=1)[..., None], null_loss=0.1)
        answer = compare(given, Question("loss", "final", (0.1,), declared_margin=MARGIN))
        found.update(entry["conditions"][0]["verdict"] for entry in answer["activations"])
    return found


def test_twice_the_margin_is_harm() -> None:
    found = verdicts_of(2 * MARGIN)
    assert found["harmed"] > 0.99 * found.total()


def test_a_tenth_of_the_margin_is_robust() -> None:
    found = verdicts_of(MARGIN / 10)
    assert found["robust"] > 0.99 * found.total()


def test_harm_as_large_as_the_margin_is_neither_shown_nor_ruled_out() -> None:
    found = verdicts_of(MARGIN)
    assert found["inconclusive"] > 0.97 * found.total()


def grown(dirty_AS: Array, target: float, num_seeds: int = 5) -> tuple[int, Reach]:
    """Add five seeds at a time until the rule says that it is enough, or there are no more."""
    looked_at_ARSE = np.stack([np.zeros_like(dirty_AS), dirty_AS], axis=1)[:, :, :num_seeds, None]
    found = reach(results(looked_at_ARSE), metric="loss", score="final", declared_margin=None, declared_target=target)
    enough = found.reached or num_seeds == dirty_AS.shape[1]
    return (num_seeds, found) if enough else grown(dirty_AS, target, num_seeds + 5)


@pytest.mark.parametrize("num_activations", [1, 7])
@pytest.mark.parametrize("target", [1.2, 0.7])
def test_intervals_that_were_grown_until_narrow_hold_the_truth_in_95_of_100(
    num_activations: int, target: float
) -> None:
    """The whole way from losses to the intervals that are reported, with normal differences of SD 1."""
    rng = np.random.default_rng(5)
    held, seeds = [], []
    for _ in range(1500 // num_activations):
        dirty_AS = rng.normal(0.3, 1, size=(num_activations, 50))
        num_seeds, found = grown(dirty_AS, target)
        low_A, high_A = t_interval(dirty_AS[:, :num_seeds], CONFIDENCE_WITH_TARGET)
        assert found.half_width == pytest.approx(((high_A - low_A) / 2).max())
        held.append((low_A <= 0.3) & (high_A >= 0.3))
        seeds.append(num_seeds)
    assert np.mean(held) > CONFIDENCE - 0.01
    assert 5 < np.mean(seeds) < 50
