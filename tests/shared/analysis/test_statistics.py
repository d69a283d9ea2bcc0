from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import ttost_paired

from shared.analysis.statistics import (
    clopper_pearson,
    correlation,
    difference,
    hedges_g,
    interquartile_mean,
    moments,
    number,
    numbers,
    p_at_least,
    p_at_most,
    p_not_equivalent,
    ratio_of_means,
    t_interval,
)

NAN = np.nan
TINY = 1e-9
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


def test_an_overlap_of_splits_widens_the_interval_as_nadeau_and_bengio_say() -> None:
    """Mean 2, SD 1, n 3; a third of the training rows validates: the variance is 1/3 + 1/2 instead of 1/3."""
    low, high = t_interval(np.array([1.0, 2.0, 3.0]), 0.95, overlap=0.5)
    half_width = 4.302653 * np.sqrt(1 / 3 + 0.5)
    assert (low, high) == pytest.approx((2 - half_width, 2 + half_width), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(samples, st.floats(-100, 100))
def test_one_sided_p_values_are_those_of_the_t_test(values: list[float], bound: float) -> None:
    array = np.array(values)
    if array.std() < 1e-6:
        return
    assert p_at_least(array, bound) == pytest.approx(
        stats.ttest_1samp(array, bound, alternative="less").pvalue, abs=TINY
    )
    assert p_at_most(array, bound) == pytest.approx(
        stats.ttest_1samp(array, bound, alternative="greater").pvalue, abs=TINY
    )


@settings(deadline=None, max_examples=50)
@given(samples, st.floats(0.01, 100))
def test_equivalence_is_two_one_sided_tests(values: list[float], margin: float) -> None:
    array = np.array(values)
    if array.std() < 1e-6:
        return
    expected, *_ = ttost_paired(array, np.zeros_like(array), -margin, margin)
    assert p_not_equivalent(array, margin) == pytest.approx(expected, abs=TINY)


def test_the_overlap_enters_the_tests_too() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, size=8)
    t = (values.mean() - 0.5) / (values.std(ddof=1) * np.sqrt(1 / 8 + 0.25))
    assert p_at_least(values, 0.5, overlap=0.25) == pytest.approx(stats.t.cdf(t, 7), abs=TINY)
    assert p_at_most(values, 0.5, overlap=0.25) == pytest.approx(stats.t.sf(t, 7), abs=TINY)


@pytest.mark.parametrize("values", [[1.0], [], [NAN, 3.0], [2.0, 2.0, 2.0]], ids=str)
def test_without_spread_there_is_no_p_and_no_effect_size(values: list[float]) -> None:
    array = np.array(values)
    for statistic in (p_at_least(array, 0.5), p_at_most(array, 0.5), p_not_equivalent(array, 0.5), hedges_g(array)):
        assert np.isnan(statistic)


def test_hedges_g_by_hand() -> None:
    """Mean 2, SD 1, n 3: 2 (1 - 3/7)."""
    assert hedges_g(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 * 4 / 7)
    assert hedges_g(np.array([1.0, NAN, 2.0, 3.0])) == pytest.approx(2 * 4 / 7), "a missing seed counts nowhere"


def test_hedges_g_takes_back_what_a_small_sample_adds_to_the_effect() -> None:
    values = np.random.default_rng(1).normal(0.8, 1, size=(200_000, 6))
    assert (values.mean(axis=1) / values.std(axis=1, ddof=1)).mean() > 0.93
    assert hedges_g(values).mean() == pytest.approx(0.8, abs=0.01)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy(values: list[float]) -> None:
    expected = stats.trim_mean(values, 0.25)
    assert interquartile_mean(np.array(values)) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert interquartile_mean(np.array([NAN, *values, NAN])) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 4, 9))
    second += first
    expected = [stats.pearsonr(x, y).statistic for x, y in zip(first, second, strict=True)]
    assert correlation(first, second) == pytest.approx(expected, abs=TINY)
    first[0, 3] = NAN
    kept = np.arange(9) != 3
    assert correlation(first[0], second[0]) == pytest.approx(
        stats.pearsonr(first[0, kept], second[0, kept]).statistic, abs=TINY
    )


def test_a_constant_correlates_with_nothing() -> None:
    assert np.isnan(correlation(np.full(5, 0.1), np.arange(5.0)))
    assert np.isnan(correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])))


def test_the_ends_of_fiellers_interval_are_where_zero_leaves_the_t_interval() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        below = rng.normal(1, 0.2, size=7)
        above = 0.3 * below + rng.normal(0, 0.1, size=7)
        ratio = ratio_of_means(above, below, 0.95)
        value = float(ratio.value)
        assert value == pytest.approx(above.mean() / below.mean())

        def distance(q: float, seeds: Any = (above, below)) -> float:
            low, high = stats.ttest_1samp(seeds[0] - q * seeds[1], 0).confidence_interval(0.95)
            return float(low * high)

        assert ratio.low == pytest.approx(optimize.brentq(distance, value - 3, value), abs=1e-9)
        assert ratio.high == pytest.approx(optimize.brentq(distance, value, value + 3), abs=1e-9)


def test_a_ratio_to_something_constant_has_the_t_interval_of_its_numerator() -> None:
    above = np.array([1.0, 2.0, 4.0, 5.0])
    ratio = ratio_of_means(above, np.full(4, 2.0), 0.95)
    assert (ratio.low, ratio.high) == pytest.approx(t_interval(above / 2, 0.95))


def test_a_ratio_has_a_wider_interval_where_splits_overlap() -> None:
    above = np.array([1.0, 2.0, 4.0, 5.0])
    ratio = ratio_of_means(above, np.full(4, 2.0), 0.95, overlap=0.3)
    assert (ratio.low, ratio.high) == pytest.approx(t_interval(above / 2, 0.95, overlap=0.3))


def test_a_ratio_to_what_may_be_zero_is_unknown() -> None:
    ratio = ratio_of_means(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.5, 1.0]), 0.95)
    assert np.isnan([ratio.value, ratio.low, ratio.high]).all()


@pytest.mark.parametrize("below", [[-1.0, -1.1, -0.9], [-1.0] * 3, [-1.0]], ids=["spread", "constant", "one seed"])
def test_a_ratio_to_less_than_nothing_is_unknown(below: list[float]) -> None:
    ratio = ratio_of_means(np.arange(1.0, len(below) + 1), np.array(below), 0.95)
    assert np.isnan([ratio.value, ratio.low, ratio.high]).all()


def test_a_single_seed_has_a_ratio_without_interval() -> None:
    ratio = ratio_of_means(np.array([1.0]), np.array([4.0]), 0.95)
    assert ratio.value == 0.25
    assert np.isnan([ratio.low, ratio.high]).all()
    assert np.isnan(ratio_of_means(np.array([1.0]), np.array([0.0]), 0.95).value)


def test_a_ratio_of_constants_has_no_interval() -> None:
    ratio = ratio_of_means(np.full(5, 1.0), np.full(5, 4.0), 0.95)
    assert ratio.value == 0.25
    assert np.isnan([ratio.low, ratio.high]).all()


@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_of_a_share_is_that_of_statsmodels(n: int, confidence: float) -> None:
    for count in range(n + 1):
        low, high = clopper_pearson(np.array(float(count)), np.array(n), confidence)
        expected = proportion_confint(count, n, alpha=1 - confidence, method="beta")
        assert (low, high) == pytest.approx(expected, abs=1e-9)


def test_half_a_success_is_rounded_outward() -> None:
    low, high = clopper_pearson(np.array(3.5), np.array(8), 0.95)
    assert low == clopper_pearson(np.array(3.0), np.array(8), 0.95)[0]
    assert high == clopper_pearson(np.array(4.0), np.array(8), 0.95)[1]
    assert np.isnan(clopper_pearson(np.array(0.0), np.array(0), 0.95)).all()


def test_differences_that_are_equal_on_paper_are_equal() -> None:
    clean = 1 - np.array([0.9, 0.8, 0.7, 0.85])
    dirty = 1 - np.array([0.8, 0.7, 0.6, 0.75])
    assert np.ptp(dirty - clean) > 0, "rounding makes them differ"
    settled_S = difference(dirty, clean)
    assert moments(settled_S).sd == 0
    assert settled_S == pytest.approx(np.full(4, 0.1), abs=1e-12)
    assert difference(np.array([0.15]), 1 - np.array([0.85])) == 0


@settings(deadline=None, max_examples=50)
@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_settling_moves_a_difference_by_less_than_anyone_can_measure(first: float, second: float) -> None:
    array = difference(np.array(first), np.array(second))
    assert array == pytest.approx(first - second, rel=0, abs=1e-12 * max(abs(first), abs(second)))


def test_numbers_for_json_have_neither_nan_nor_infinity() -> None:
    assert numbers(np.array([[1.5, NAN], [np.inf, -np.inf]])) == [[1.5, None], [None, None]]
    assert (number(NAN), number(np.float64(2.0))) == (None, 2.0)
