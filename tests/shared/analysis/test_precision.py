from typing import Any

import numpy as np
import pytest
from scipy import stats

from shared.analysis.precision import Reach, half_widths, reach
from shared.analysis.scores import Results
from shared.analysis.statistics import t_interval
from tests.shared.analysis.results import results

NUM_SEEDS = 5


def experiment(*degradations: list[float], **changes: Any) -> Results:
    """One activation at one rate for each list of degradations, seed by seed, without any harm to the clean runs."""
    dirty = np.array(degradations)[:, None, :, None]
    return results(np.concatenate([np.zeros_like(dirty), dirty], axis=1), **changes)


def reached(given: Results, **changes: Any) -> Reach:
    asked: dict[str, Any] = {"metric": "loss", "score": "final", "declared_margin": None, "declared_target": 1.0}
    return reach(given, **asked | changes)


def test_the_half_width_of_five_seeds_by_hand() -> None:
    """SD is the root of 2.5, and t of four degrees of freedom leaves 1.25 % above it at 3.4954."""
    width = half_widths(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert width == pytest.approx(3.4954 * 2.5**0.5 / 5**0.5, rel=1e-4)
    assert width == pytest.approx(stats.t.ppf(1 - 0.05 / 4, 4) * 2.5**0.5 / 5**0.5)


def test_it_is_half_the_interval_that_is_reported() -> None:
    degradations = np.random.default_rng(0).normal(size=(3, 15))
    low, high = t_interval(degradations, 0.975)
    assert half_widths(degradations) == pytest.approx((high - low) / 2)


def test_the_widest_interval_over_activations_and_rates_decides() -> None:
    narrow, wide = [0.0, 0.1, 0.2, 0.1, 0.0], [0.0, 1.0, 2.0, 1.0, 0.0]
    found = reached(experiment(narrow, wide, narrow))
    assert found.half_width == pytest.approx(half_widths(np.array(wide)))
    losses = np.zeros((1, 3, NUM_SEEDS, 1))
    losses[0, 1, :, 0], losses[0, 2, :, 0] = wide, narrow
    assert reached(results(losses, rates=(0.0, 0.4, 0.1))) == found


def test_the_target_is_reached_where_the_half_width_is_at_most_as_large() -> None:
    given = experiment([1.0, 2.0, 3.0, 4.0, 5.0])
    width = reached(given).half_width
    assert width is not None
    assert reached(given, declared_target=width).reached
    assert not reached(given, declared_target=width * (1 - 1e-9)).reached


@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.1, 7.0])
def test_neither_sign_nor_size_of_the_harm_decides(shift: float) -> None:
    degradations = np.array([0.0, 0.5, 0.25, 0.5, 0.0])
    found = reached(experiment(list(degradations + shift)))
    assert found.half_width == pytest.approx(half_widths(degradations))


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"declared_target": 0.3, "declared_margin": 0.5}, 0.3),
        ({"declared_target": None, "declared_margin": 0.5}, 0.25),
        ({"declared_target": None, "declared_margin": None}, 0.5 * 0.05 * 2.0),
        ({"declared_target": None, "declared_margin": None, "metric": "accuracy"}, 0.005),
    ],
    ids=str,
)
def test_the_target_is_the_declared_one_or_half_of_the_margin(changes: dict[str, Any], target: float) -> None:
    given = experiment([0.0] * NUM_SEEDS, accuracy=0.5, null_loss=2.0)
    assert reached(given, **changes).target == pytest.approx(target)


def test_as_long_as_a_run_is_missing_nothing_is_reached() -> None:
    complete = np.ones((2, 2, NUM_SEEDS), dtype=bool)
    complete[1, 0, 4] = False
    found = reached(experiment([0.0] * NUM_SEEDS, [0.0] * NUM_SEEDS, complete=complete))
    assert found == Reach(None, 1.0)
    assert not found.reached


def test_before_any_null_loss_is_known_there_is_no_default_target() -> None:
    given = experiment([0.0] * NUM_SEEDS, null_loss=np.nan, complete=False)
    assert reached(given, declared_target=None) == Reach(None, None)


@pytest.mark.parametrize("worst", [np.inf, np.nan])
def test_a_score_that_is_not_finite_leaves_the_target_unreached(worst: float) -> None:
    found = reached(experiment([0.0, 0.1, 0.2, 0.1, worst], [0.0] * NUM_SEEDS))
    assert (found.half_width, found.reached) == (None, False)


def test_degradations_that_are_all_equal_need_no_more_seeds() -> None:
    found = reached(experiment([0.5] * NUM_SEEDS), declared_target=1e-12)
    assert (found.half_width, found.reached) == (0.0, True)
