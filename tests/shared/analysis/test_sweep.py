import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from shared.analysis.sweep import area_under_degradation, breakdown_rate, first_crossing, isotonic, relative_error

NAN = np.nan


def test_the_area_under_degradation_by_hand() -> None:
    """D = 0, 1, 3 at the rates 0, 0.1, 0.4: (0.1 * 0.5 + 0.3 * 2) / 0.4."""
    area = area_under_degradation(np.array([[1.0], [3.0]]), np.array([0.1, 0.4]))
    assert area == pytest.approx([1.625])


def test_a_degradation_in_proportion_to_the_rate_has_half_its_largest_as_area() -> None:
    rates = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    area = area_under_degradation(np.stack([rates, -2 * rates], axis=1), rates)
    assert area == pytest.approx([0.4, -0.8])


def test_the_area_keeps_seeds_and_leading_axes_apart() -> None:
    degradation = np.random.default_rng(0).normal(size=(4, 3, 5))
    rates = np.array([0.1, 0.2, 0.6])
    area = area_under_degradation(degradation, rates)
    assert area.shape == (4, 5)
    expected = np.trapezoid(np.r_[0, degradation[2, :, 3]], np.r_[0, rates]) / 0.6
    assert area[2, 3] == pytest.approx(expected)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12))
def test_smoothing_is_the_isotonic_regression_of_scipy(values: list[float]) -> None:
    expected = optimize.isotonic_regression(values).x
    assert isotonic(np.array(values)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_smoothing_keeps_rows_apart_and_passes_on_what_is_unknown() -> None:
    fit = isotonic(np.array([[3.0, 1.0, 2.0, 5.0], [1.0, NAN, 2.0, 3.0]]))
    assert fit[0] == pytest.approx([2, 2, 2, 5])
    assert np.isnan(fit[1]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1.0, -0.5, 0.5], 0.3), ([-1.0, 1.0, 2.0], 0.1), ([-1.0, 0.0, 2.0], 0.2), ([0.0, 1.0, 2.0], 0.0),
        ([-3.0, -2.0, -1.0], NAN), ([NAN, NAN, NAN], NAN),
    ],
)  # fmt: skip
def test_crossings_by_hand(values: list[float], expected: float) -> None:
    assert first_crossing(np.array(values), np.array([0.0, 0.2, 0.4])) == pytest.approx(expected, nan_ok=True)


def test_the_breakdown_rate_by_hand() -> None:
    """K = 1 in every seed, so half of it is lost where D = 0.5; D = r on average, but for 0.1 in both directions."""
    rates = np.array([0.2, 0.4, 0.8])
    degradation = np.stack([rates - 0.1, rates + 0.1, rates], axis=1)[None]
    found = breakdown_rate(degradation, np.ones((1, 3)), rates, confidence=0.95)
    assert found.value == pytest.approx([0.5])
    # t(2, 0.975) * 0.1 / sqrt(3) = 0.248414 on either side at every rate but 0: B's ends are D -+ that - 0.5.
    half_width = 4.302653 * 0.1 / np.sqrt(3)
    assert found.low == pytest.approx([0.5 - half_width], abs=1e-6)
    assert found.high == pytest.approx([0.5 + half_width], abs=1e-6)
    assert not found.censored[0]


def test_what_holds_out_to_the_largest_rate_is_censored_there() -> None:
    rates = np.array([0.1, 0.2])
    degradation = np.array([[[0.01, 0.02, 0.03], [0.02, 0.02, 0.03]]])
    found = breakdown_rate(degradation, np.ones((1, 3)), rates, confidence=0.95)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.censored[0]


@pytest.mark.parametrize("learned", [[-0.2, -0.3, -0.1], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("lost", [0.0, 1.0, -1.0])
def test_where_nothing_was_learned_nothing_breaks_down(learned: list[float], lost: float) -> None:
    rates = np.array([0.1, 0.2])
    degradation = lost * rates[:, None] + np.array([[[0.01, 0.02, 0.03], [0.02, 0.02, 0.03]]])
    found = breakdown_rate(degradation, np.array([learned]), rates, confidence=0.95)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert not found.censored[0]


def test_an_end_outside_the_sweep_is_open() -> None:
    rates = np.array([0.2, 0.4])
    degradation = np.array([[[0.1, 0.2, 0.3], [0.3, 0.5, 0.8]]])
    found = breakdown_rate(degradation, np.ones((1, 3)), rates, confidence=0.95)
    assert 0.3 < found.value[0] < 0.4
    assert 0 < found.low[0] < found.value[0]
    assert np.isnan(found.high[0])
    assert not found.censored[0]


def test_a_seed_that_lacks_a_rate_has_no_part_in_area_and_breakdown_rate() -> None:
    rates = np.array([0.2, 0.4])
    degradation = np.array([[[0.1, 0.2, 0.3, 9.0], [0.6, 0.5, 0.8, NAN]]])
    learned = np.array([[1.0, 0.9, 1.1, 7.0]])
    found = breakdown_rate(degradation, learned, rates, confidence=0.95)
    whole = breakdown_rate(degradation[..., :3], learned[:, :3], rates, confidence=0.95)
    for part, expected in ((found.value, whole.value), (found.low, whole.low), (found.high, whole.high)):
        assert part == pytest.approx(expected, nan_ok=True)
    assert np.isnan(area_under_degradation(degradation, rates)[0]).tolist() == [False, False, False, True]


def test_without_a_seed_that_has_all_rates_the_breakdown_rate_is_unknown() -> None:
    found = breakdown_rate(np.array([[[0.1, NAN], [NAN, 0.2]]]), np.ones((1, 2)), np.array([0.1, 0.2]), confidence=0.95)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert not found.censored[0]


def test_a_dip_in_the_sweep_is_smoothed() -> None:
    """B = -0.5, 0.1, -0.1, 0.3: smoothed to -0.5, 0, 0, 0.3, which reaches 0 at the first rate."""
    rates = np.array([0.1, 0.2, 0.4])
    degradation = np.array([0.6, 0.4, 0.8])[None, :, None]
    found = breakdown_rate(degradation, np.ones((1, 1)), rates, confidence=0.95)
    assert found.value == pytest.approx([0.1])
    assert np.isnan([found.low, found.high]).all(), "a single seed has no interval"


def test_the_interval_holds_the_rate() -> None:
    rng = np.random.default_rng(0)
    rates = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    degradation = rates[:, None] + rng.normal(0, 0.2, size=(50, 5, 8))
    found = breakdown_rate(degradation, rng.normal(0.8, 0.1, size=(50, 8)), rates, confidence=0.95)
    for value, low, high in zip(found.value, found.low, found.high, strict=True):
        assert np.isnan(low) or np.isnan(value) or low <= value
        assert np.isnan(high) or value <= high


def test_relative_errors_by_hand() -> None:
    """Two rates, two seeds: (1 + 2 + 3 + 4) / (2 + 2 + 2 + 2)."""
    h = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert relative_error(h, np.full((2, 2), 2.0)) == pytest.approx(125.0)
    assert relative_error(h, h) == 100.0
    assert np.isnan(relative_error(h, np.zeros((2, 2))))
    # The second seed lacks a rate: (1 + 3) / (2 + 2).
    assert relative_error(np.array([[1.0, 2.0], [3.0, NAN]]), np.full((2, 2), 2.0)) == pytest.approx(100.0)
