from typing import Any

import numpy as np
import pytest

from shared.analysis.verdicts import Verdict, harm_levels, learning, ranks, verdicts

NAN = np.nan


def judge(noninferiority: list[float], inferiority: list[float], **changes: Any) -> list[Verdict]:
    """Verdicts on several activations at one rate."""
    num = len(noninferiority)
    arguments: dict[str, Any] = {
        "learned_A": [True] * num, "num_seeds_AR": np.full((num, 1), 10), "diverged_AR": np.zeros((num, 1), dtype=bool),
        "alpha": 0.05,
    }  # fmt: skip
    judged = verdicts(np.array(noninferiority)[:, None], np.array(inferiority)[:, None], **{**arguments, **changes})
    return [row[0] for row in judged]


def test_the_smaller_p_decides_at_half_of_alpha() -> None:
    assert judge([0.02], [0.98]) == [Verdict.ROBUST]
    assert judge([0.98], [0.02]) == [Verdict.HARMED]
    assert judge([0.03], [0.97]) == [Verdict.INCONCLUSIVE]


def test_holm_is_over_all_activations() -> None:
    """0.01 * 3 is too much for the first of three; on its own it would do."""
    assert judge([0.01], [0.99]) == [Verdict.ROBUST]
    assert judge([0.01, 0.5, 0.6], [0.99, 0.5, 0.4]) == [Verdict.INCONCLUSIVE] * 3
    # 0.001 * 3, then 0.0115 * 2.
    assert judge([0.001, 0.0115, 0.6], [0.99, 0.5, 0.4])[:2] == [Verdict.ROBUST, Verdict.ROBUST]
    assert judge([0.001, 0.0135, 0.6], [0.99, 0.5, 0.4])[:2] == [Verdict.ROBUST, Verdict.INCONCLUSIVE]


def test_few_seeds_come_before_everything_else() -> None:
    assert judge([1e-9], [1.0], num_seeds_AR=np.array([[4]]), learned_A=[False]) == [Verdict.INCONCLUSIVE]


def test_what_has_not_learned_is_neither_robust_nor_harmed() -> None:
    assert judge([1e-9], [1.0], learned_A=[False]) == [Verdict.NOT_LEARNED]
    assert judge([1e-9], [1.0], learned_A=[None]) == [Verdict.INCONCLUSIVE]


def test_a_diverged_run_rules_out_robust_and_nothing_else() -> None:
    diverged = np.array([[True]])
    assert judge([1e-9], [1.0], diverged_AR=diverged) == [Verdict.INCONCLUSIVE]
    assert judge([1.0], [1e-9], diverged_AR=diverged) == [Verdict.HARMED]


def test_without_p_values_nothing_is_concluded() -> None:
    assert judge([NAN], [NAN]) == [Verdict.INCONCLUSIVE]


def test_learning_is_to_beat_nine_tenths_of_the_null_score() -> None:
    rng = np.random.default_rng(0)
    clean = np.array([[0.2], [0.9], [0.97], [1.1]]) + rng.normal(0, 0.005, size=(4, 6))
    assert learning(np.ones((4, 6)), clean, confidence=0.95) == [True, None, False, False]


def test_learning_without_spread_has_a_side() -> None:
    clean = np.repeat([[0.5], [0.95]], 5, axis=1)
    assert learning(np.ones((2, 5)), clean, confidence=0.95) == [True, False]
    assert learning(np.zeros((1, 5)), np.zeros((1, 5)), confidence=0.95) == [None]


def test_four_seeds_do_not_tell_whether_anything_was_learned() -> None:
    assert learning(np.ones((1, 4)), np.full((1, 4), 0.2), confidence=0.95) == [None]
    assert learning(np.full((1, 6), NAN), np.full((1, 6), 0.2), confidence=0.95) == [None]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [2, 1, 3]),
        ({"not_learned_A": [False, True, False]}, [1, 3, 2]),
        ({"fragile_A": np.array([False, True, False])}, [1, 3, 2]),
        ({"not_learned_A": [False, True, False], "fragile_A": np.array([True, False, False])}, [3, 2, 1]),
    ],
)
def test_ranks_by_harm_then_what_has_not_learned_then_what_diverged(
    changes: dict[str, Any], expected: list[int]
) -> None:
    arguments = {"not_learned_A": [False] * 3, "fragile_A": np.zeros(3, dtype=bool), **changes}
    assert ranks(np.array([0.2, 0.1, 0.3]), np.ones(3), **arguments) == expected


def test_negative_harm_is_no_harm_and_the_dirty_score_breaks_ties() -> None:
    fragile = np.zeros(3, dtype=bool)
    places = ranks(np.array([-5.0, 0.0, 0.1]), np.array([2.0, 1.0, 0.0]), not_learned_A=[False] * 3, fragile_A=fragile)
    assert places == [2, 1, 3]


def test_harm_that_is_equal_on_paper_is_a_tie_whatever_rounding_makes_of_it() -> None:
    harm, dirty = np.array([0.1 + 0.2, 0.3, 0.3 - 1e-13, 1e-14, -0.1]), np.array([0.5, 0.4, 0.6, 0.2, 0.1])
    assert np.unique(harm[:3]).size == 3
    places = ranks(harm, dirty, not_learned_A=[False] * 5, fragile_A=np.zeros(5, dtype=bool))
    assert places == [4, 3, 5, 2, 1]
    dirty = np.array([0.1 + 0.2, 0.3])
    assert ranks(np.zeros(2), dirty, not_learned_A=[False] * 2, fragile_A=np.zeros(2, dtype=bool)) == [1, 2]


def test_a_huge_score_makes_no_others_equal() -> None:
    levels = harm_levels(np.array([1e300, 0.3, 0.2, 0.0, 0.0]), np.array([1e300, 0.5, 0.4, 0.3, 1e300]))
    assert levels.tolist() == [3, 2, 1, 0, 0]


def test_harm_that_differs_by_a_single_row_of_a_large_set_is_no_tie() -> None:
    levels = harm_levels(np.array([0.2, 0.2 + 1 / 10_000 / 50]), np.array([0.5, 0.4]))
    assert levels.tolist() == [0, 1]
