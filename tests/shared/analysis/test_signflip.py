import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.analysis import signflip
from shared.analysis.signflip import flip_blocks, sign_flip_p, unit_rows
from shared.analysis.statistics import Array

NAN = np.nan


def by_definition(values: Array) -> float:
    """The share of all 2^n flips whose mean is as far from 0."""
    flips = np.array(list(itertools.product([-1, 1], repeat=len(values))))
    return float((np.abs(flips @ values) >= abs(values.sum()) * (1 - 1e-9) - 1e-12).mean())


def test_three_seeds_by_hand() -> None:
    """Of 1, 2, 4: only all signs alike give a sum as far from 0 as 7. Of 1, 2, -4: -1 is reached or passed by all."""
    assert sign_flip_p(np.array([1.0, 2.0, 4.0])) == 2 / 8
    assert sign_flip_p(np.array([1.0, 2.0, -4.0])) == 1.0
    assert sign_flip_p(np.array([1.0, 3.0, -1.0])) == 6 / 8


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=2, max_size=9))
def test_small_samples_are_those_of_the_definition_ties_included(values: list[float]) -> None:
    array = np.array(values)
    if np.ptp(array) == 0:
        return
    assert sign_flip_p(array) == pytest.approx(by_definition(array), abs=1e-12)


def test_ten_seeds_are_those_of_scipys_permutation_test() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.3, 1.0):
        values = rng.normal(shift, 1, size=10)
        expected = stats.permutation_test(
            (values, np.zeros(10)), lambda x, y: (x - y).mean(), permutation_type="samples", n_resamples=2**10
        ).pvalue
        assert sign_flip_p(values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 10, 16])
def test_the_floor_is_two_in_all_flips(n: int) -> None:
    assert sign_flip_p(np.arange(1.0, n + 1)) == 2 / 2**n


def test_beyond_sixteen_seeds_there_are_draws() -> None:
    assert sign_flip_p(np.arange(1.0, 31)) == pytest.approx(1 / 100_001)
    values = np.random.default_rng(1).normal(0.4, 1, size=18)
    flips = 1 - 2 * (np.arange(2**17)[:, None] >> np.arange(18) & 1)
    exact = (np.abs(flips @ values) >= abs(values.sum()) - 1e-9).mean()
    p = sign_flip_p(values)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact / 100_000))
    assert p == sign_flip_p(values), "the draws are the same each time"


def test_the_exact_test_and_the_draws_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(0.3, 1, size=(5, 14))
    exact = sign_flip_p(values)
    monkeypatch.setattr(signflip, "ALL_FLIPS_UP_TO", 10)
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.008)


def test_every_flip_comes_once_and_keeps_the_first_sign() -> None:
    flips = np.concatenate(list(flip_blocks(6, block_size=7)), axis=1)
    assert flips.shape == (6, 32)
    assert len({tuple(column) for column in flips.T}) == 32
    assert (flips[0] == 1).all()


def test_draws_do_not_depend_on_the_size_of_the_blocks_in_number() -> None:
    assert sum(block.shape[1] for block in flip_blocks(20, num_draws=1000, block_size=300)) == 1000


def test_tests_are_computed_at_once_whatever_seeds_are_missing() -> None:
    values = np.random.default_rng(3).normal(0.5, 1, size=(3, 4, 8))
    values[0, 1, 2] = values[2, 0, 0] = values[2, 3, 7] = NAN
    values[1, 1] = NAN
    values[1, 2, 1:] = NAN
    together = sign_flip_p(values)
    for index in np.ndindex(3, 4):
        row = values[index]
        alone = sign_flip_p(row[~np.isnan(row)]) if (~np.isnan(row)).sum() > 1 else NAN
        assert together[index] == pytest.approx(alone, nan_ok=True)


@pytest.mark.parametrize("values", [[0.0] * 6, [0.3] * 6, [1.0], []], ids=str)
def test_without_spread_there_is_no_p(values: list[float]) -> None:
    assert np.isnan(sign_flip_p(np.array(values)))


def test_numbers_of_any_size_have_unit_rows() -> None:
    rows = unit_rows(np.array([[3e200, 4e200], [3e-200, 4e-200], [0.0, 0.0]]))
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]))


def test_the_statistic_rises_with_the_t_of_every_flip() -> None:
    values = np.random.default_rng(4).normal(size=9)
    (block,) = flip_blocks(9)
    flipped = values[:, None] * block
    t = stats.ttest_1samp(flipped, 0).statistic
    u = unit_rows(values[None])[0] @ block
    assert t**2 == pytest.approx(u**2 * 8 / (9 - u**2))


def test_under_the_null_the_test_holds_its_level() -> None:
    p = sign_flip_p(np.random.default_rng(5).standard_t(3, size=(4000, 8)))
    assert (p <= 0.05).mean() == pytest.approx(0.046875, abs=0.012), "12 of 256 flips are the most below 0.05"
