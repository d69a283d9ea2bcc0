from math import ceil

import numpy as np
import pytest
from scipy import stats

from shared.analysis import signflip
from shared.analysis.curves import simultaneous_band
from shared.analysis.signflip import flip_blocks
from shared.analysis.statistics import Array

NAN = np.nan


def by_definition(values: Array, confidence: float) -> tuple[Array, Array]:
    """mean -+ c SE, flip by flip; (num_epochs, num_seeds)."""
    (flips,) = flip_blocks(values.shape[1])
    mean, residuals = values.mean(axis=1), values - values.mean(axis=1, keepdims=True)
    flipped = residuals[:, :, None] * flips[None]
    largest = np.sort(np.abs(flipped.mean(axis=1) / stats.sem(flipped, axis=1)).max(axis=0))
    c = largest[ceil(confidence * len(largest)) - 1]
    half_width = c * stats.sem(values, axis=1)
    return mean - half_width, mean + half_width


@pytest.mark.parametrize("num_seeds", [5, 8, 9])
def test_the_band_is_that_of_the_definition(num_seeds: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, 6, num_seeds)).cumsum(axis=1)
    low, high = simultaneous_band(values, 0.9)
    for x in range(2):
        expected = by_definition(values[x], 0.9)
        assert low[x] == pytest.approx(expected[0], abs=1e-9)
        assert high[x] == pytest.approx(expected[1], abs=1e-9)


def test_a_band_over_several_epochs_is_wider_than_one_over_one() -> None:
    values = np.random.default_rng(1).normal(size=(1, 40, 10))
    low, high = simultaneous_band(values, 0.95)
    alone_low, alone_high = simultaneous_band(values[:, :1], 0.95)
    assert (high - low)[0, 0] > 1.2 * (alone_high - alone_low)[0, 0]


def test_draws_agree_with_all_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=(3, 20, 14)).cumsum(axis=1)
    exact = np.array(simultaneous_band(values, 0.95))
    monkeypatch.setattr(signflip, "ALL_FLIPS_UP_TO", 10)
    drawn = np.array(simultaneous_band(values, 0.95))
    assert np.ptp(drawn, axis=0) == pytest.approx(np.ptp(exact, axis=0), rel=0.03)


def test_half_the_precision_is_enough() -> None:
    """14 seeds have 8192 flips, which are computed in half the precision."""
    values = np.random.default_rng(3).normal(size=(1, 5, 14))
    low, high = simultaneous_band(values, 0.95)
    expected = by_definition(values[0], 0.95)
    assert low[0] == pytest.approx(expected[0], rel=1e-5)
    assert high[0] == pytest.approx(expected[1], rel=1e-5)


def test_an_epoch_without_spread_has_no_band_and_leaves_the_others_theirs() -> None:
    values = np.random.default_rng(4).normal(size=(1, 4, 8))
    expected = np.array(simultaneous_band(values[:, [0, 1, 3]], 0.95))
    values[0, 2] = 0.5
    low, high = simultaneous_band(values, 0.95)
    assert np.isnan([low[0, 2], high[0, 2]]).all()
    assert np.array([low, high])[:, :, [0, 1, 3]] == pytest.approx(expected)


def test_a_missing_seed_counts_nowhere() -> None:
    values = np.random.default_rng(5).normal(size=(2, 4, 9))
    values[0, :, 3] = NAN
    low, high = simultaneous_band(values, 0.95)
    alone = simultaneous_band(np.delete(values[:1], 3, axis=2), 0.95)
    assert (low[0], high[0]) == (pytest.approx(alone[0][0]), pytest.approx(alone[1][0]))
    assert (low[1], high[1]) == tuple(pytest.approx(end[0]) for end in simultaneous_band(values[1:], 0.95))


@pytest.mark.parametrize("num_seeds", [0, 1])
def test_below_two_seeds_there_is_no_band(num_seeds: int) -> None:
    assert np.isnan(simultaneous_band(np.ones((1, 3, num_seeds)), 0.95)).all()


def test_the_band_of_two_seeds_is_infinitely_wide() -> None:
    """Their residuals are of one size, which a flip can turn into one without spread."""
    assert np.isinf(simultaneous_band(np.array([[[0.0, 1.0]]]), 0.95)).all()
