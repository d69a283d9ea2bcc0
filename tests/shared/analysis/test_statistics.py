import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.analysis.statistics import area_under_degradation, moments, t_interval

NAN = np.nan
samples = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20)


def test_moments_of_four_numbers_by_hand() -> None:
    summary = moments(np.array([1.0, 2.0, 3.0, 6.0]))
    assert summary.n == 4
    assert summary.mean == 3.0
    assert summary.sd == pytest.approx(np.sqrt((4 + 1 + 0 + 9) / 3))


@settings(deadline=None, max_examples=50)
@given(samples)
def test_moments_are_those_of_numpy(values: list[float]) -> None:
    summary = moments(np.array(values))
    assert summary.mean == pytest.approx(np.mean(values), rel=1e-12, abs=1e-9)
    assert summary.sd == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-9)


def test_missing_seeds_count_nowhere() -> None:
    summary = moments(np.array([[1.0, NAN, 3.0, NAN], [5.0, NAN, NAN, NAN], [NAN, NAN, NAN, NAN]]))
    assert summary.n.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(summary.mean, [2.0, 5.0, NAN])
    np.testing.assert_array_equal(summary.sd, [np.sqrt(2), NAN, NAN])


def test_leading_axes_are_computed_at_once() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 7))
    summary, (low, high) = moments(values), t_interval(values, 0.9)
    for index in np.ndindex(2, 3):
        alone, (alone_low, alone_high) = moments(values[index]), t_interval(values[index], 0.9)
        assert (summary.mean[index], summary.sd[index]) == (alone.mean, alone.sd)
        assert (low[index], high[index]) == (alone_low, alone_high)


@settings(deadline=None, max_examples=50)
@given(samples, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_is_students(values: list[float], confidence: float) -> None:
    array = np.array(values)
    if array.std() < 1e-9:
        return
    low, high = t_interval(array, confidence)
    expected = stats.t.interval(confidence, len(array) - 1, loc=array.mean(), scale=stats.sem(array))
    assert (low, high) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert (low, high) == pytest.approx(
        tuple(stats.ttest_1samp(array, 0).confidence_interval(confidence)), rel=1e-9, abs=1e-9
    )


def test_the_interval_of_three_numbers_by_hand() -> None:
    """Mean 2, SD 1, n 3: t(2, 0.975) = 4.302653."""
    low, high = t_interval(np.array([1.0, 2.0, 3.0]), 0.95)
    assert (low, high) == pytest.approx((2 - 4.302653 / np.sqrt(3), 2 + 4.302653 / np.sqrt(3)), abs=1e-6)


@pytest.mark.parametrize("values", [[1.0], [], [NAN, NAN], [2.0, NAN], [3.0, 3.0, 3.0]], ids=str)
def test_where_there_is_no_spread_there_is_no_interval(values: list[float]) -> None:
    low, high = t_interval(np.array(values), 0.95)
    assert np.isnan(low)
    assert np.isnan(high)


def test_an_interval_passes_over_missing_seeds() -> None:
    assert np.array_equal(t_interval(np.array([1.0, NAN, 2.0, 4.0]), 0.95), t_interval(np.array([1.0, 2.0, 4.0]), 0.95))


def test_statistics_warn_about_nothing() -> None:
    with np.errstate(all="raise"):
        for values in ([1.0], [NAN], [1.0, 1.0], [1.0, NAN, 3.0]):
            t_interval(np.array(values), 0.95)


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
