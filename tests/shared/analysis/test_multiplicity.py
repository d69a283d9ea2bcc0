import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from shared.analysis.multiplicity import holm, step_down
from shared.analysis.signflip import flip_blocks, sign_flip_p
from shared.analysis.statistics import Array

NAN = np.nan


@pytest.mark.parametrize("num", [1, 2, 5, 40])
def test_holm_is_that_of_statsmodels(num: int) -> None:
    p_values = np.random.default_rng(num).uniform(size=num).round(2) ** 2
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_holm_by_hand_over_a_grid() -> None:
    """0.01 * 4, 0.02 * 3, then 0.03 * 2 is no less than the one before, 0.5 * 1."""
    adjusted = holm(np.array([[0.03, 0.01], [0.5, 0.02]]))
    assert adjusted == pytest.approx(np.array([[0.06, 0.04], [0.5, 0.06]]))


def test_a_test_that_could_not_be_made_still_counts_as_one() -> None:
    adjusted = holm(np.array([0.01, NAN, 0.02]))
    assert adjusted[[0, 2]] == pytest.approx([0.03, 0.04])
    assert np.isnan(adjusted[1])


def by_definition(values: Array) -> Array:
    """Westfall and Young's step-down, flip by flip, with the t of every flipped row computed anew."""
    (flips,) = flip_blocks(values.shape[1])
    observed = np.abs(stats.ttest_1samp(values, 0, axis=1).statistic)
    order = np.argsort(-observed)
    counts = np.zeros(len(values))
    for signs in flips.T:
        t = np.abs(stats.ttest_1samp(values * signs, 0, axis=1).statistic)
        for place, row in enumerate(order):
            counts[row] += t[order[place:]].max() >= observed[row] * (1 - 1e-9)
    p: Array = counts / flips.shape[1]
    p[order] = np.maximum.accumulate(p[order])
    return p


def test_step_down_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    for num_seeds in (3, 6, 8):
        scores = rng.normal(size=(4, num_seeds)) + np.arange(4)[:, None] / 2
        a, b = np.triu_indices(4, k=1)
        values = scores[a] - scores[b]
        p, adjusted = step_down(values)
        assert p == pytest.approx(sign_flip_p(values), abs=1e-12)
        assert adjusted == pytest.approx(by_definition(values), abs=1e-12)
        assert (adjusted >= p - 1e-12).all()


def test_a_single_test_needs_no_adjustment() -> None:
    p, adjusted = step_down(np.array([[1.0, 2.0, -0.5, 3.0, 1.5]]))
    assert p == adjusted


def test_the_adjustment_knows_that_tests_depend_on_each_other() -> None:
    """Twenty times the same test is one test: Holm would multiply its p by 20."""
    values = np.tile(np.random.default_rng(1).normal(0.8, 1, size=10), (20, 1))
    p, adjusted = step_down(values)
    assert adjusted == pytest.approx(p)


def test_rows_that_cannot_be_tested_do_not_disturb_the_others() -> None:
    values = np.random.default_rng(2).normal(0.5, 1, size=(4, 7))
    expected = step_down(values)
    padded = np.insert(values, 1, np.zeros((3, 7)), axis=0)
    padded[2], padded[3, 4] = 0.7, NAN
    p, adjusted = step_down(padded)
    kept = [0, 4, 5, 6]
    assert p[kept] == pytest.approx(expected[0])
    assert adjusted[kept] == pytest.approx(expected[1])
    assert np.isnan(p[1:4]).all()
    assert np.isnan(adjusted[1:4]).all()


def test_there_may_be_nothing_to_test() -> None:
    p, adjusted = step_down(np.empty((0, 5)))
    assert p.shape == adjusted.shape == (0,)


def test_draws_of_many_seeds_agree_with_each_other_and_with_the_single_test() -> None:
    values = np.random.default_rng(3).normal(0.2, 1, size=(6, 25))
    p, adjusted = step_down(values)
    assert p == pytest.approx(sign_flip_p(values), abs=0.005)
    assert (adjusted >= p).all()
    assert step_down(values)[1] == pytest.approx(adjusted, abs=0)


def test_under_the_null_hardly_more_than_one_family_in_twenty_has_a_finding() -> None:
    rng = np.random.default_rng(4)
    a, b = np.triu_indices(4, k=1)
    scores = rng.normal(size=(800, 4, 8))
    found = [bool((step_down(family[a] - family[b])[1] <= 0.05).any()) for family in scores]
    assert np.mean(found) <= 0.05 + 0.02
