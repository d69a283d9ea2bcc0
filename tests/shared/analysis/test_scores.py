import numpy as np
import pytest

from shared.analysis.scores import oriented, other_half, score_epoch, score_runs
from tests.shared.analysis.results import results

NAN = np.nan


def one_run(*losses: float) -> list[list[list[list[float]]]]:
    """A single activation and seed, clean and dirty alike."""
    return [[[list(losses)], [list(losses)]]]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("final", 0.4),
        ("epoch:1", 0.9),
        ("epoch:3", 0.2),
        ("epoch:6", 0.4),
        ("last5", (0.5 + 0.2 + 0.3 + 0.3 + 0.4) / 5),
    ],
)
def test_scores_by_hand(score: str, expected: float) -> None:
    h = score_runs(results(one_run(0.9, 0.5, 0.2, 0.3, 0.3, 0.4)), "loss", score)
    assert h == pytest.approx(np.full((1, 2, 1), expected))


def test_the_last_five_of_fewer_epochs_are_all_of_them() -> None:
    assert score_runs(results(one_run(0.5, 0.1)), "loss", "last5") == pytest.approx(np.full((1, 2, 1), 0.3))


def test_best_is_chosen_on_the_selection_half_and_read_on_the_other() -> None:
    """Half A says epoch 2; ten rows, five in A: the other half's loss there is 2 * 0.5 - 0.1."""
    chosen = results(one_run(0.4, 0.5, 0.3), loss_a=[0.2, 0.1, 0.3])
    assert score_runs(chosen, "loss", "best") == pytest.approx(np.full((1, 2, 1), 0.9))


def test_best_of_an_odd_number_of_rows_weighs_the_halves_by_their_rows() -> None:
    """Eleven rows, five in A: (11 * 0.5 - 5 * 0.1) / 6."""
    chosen = results(one_run(0.4, 0.5), loss_a=[0.2, 0.1], num_val=11)
    assert score_runs(chosen, "loss", "best") == pytest.approx(np.full((1, 2, 1), 5.0 / 6))


def test_best_takes_the_earliest_of_equals() -> None:
    chosen = results(one_run(0.4, 0.5, 0.6), loss_a=[0.2, 0.1, 0.1])
    assert score_runs(chosen, "loss", "best") == pytest.approx(np.full((1, 2, 1), 0.9))


def test_accuracy_is_turned_so_that_worse_is_larger() -> None:
    given = results(one_run(NAN, NAN), accuracy=[0.7, 0.9])
    assert score_runs(given, "accuracy", "final") == pytest.approx(np.full((1, 2, 1), 0.1))
    assert oriented(given, "accuracy")[0, 0, 0] == pytest.approx([0.3, 0.1])


def test_the_best_accuracy_is_the_highest() -> None:
    chosen = results(one_run(NAN, NAN, NAN), accuracy=[0.5, 0.8, 0.7], accuracy_a=[0.5, 0.9, 0.6])
    assert score_runs(chosen, "accuracy", "best") == pytest.approx(np.full((1, 2, 1), 1 - 0.7))


def test_a_run_that_is_not_complete_has_no_score() -> None:
    given = results(one_run(0.4, 0.3), complete=[[[True], [False]]])
    h = score_runs(given, "loss", "final")
    assert h[0, 0, 0] == 0.3
    assert np.isnan(h[0, 1, 0])


@pytest.mark.parametrize(
    ("losses", "null", "expected"),
    [
        ((0.5, 0.4, NAN, NAN), 1.0, 1.0),
        ((0.5, 40.0, NAN, NAN), 1.0, 40.0),
        ((NAN, NAN, NAN, NAN), 1.0, 1.0),
    ],
)
def test_a_run_that_diverged_keeps_the_worse_of_null_and_its_worst(
    losses: tuple[float, ...], null: float, expected: float
) -> None:
    given = results(one_run(*losses), null_loss=null, diverged=True)
    assert score_runs(given, "loss", "final") == pytest.approx(np.full((1, 2, 1), expected))
    assert score_runs(given, "loss", "epoch:3") == pytest.approx(np.full((1, 2, 1), expected))


def test_before_it_diverged_a_run_has_the_scores_that_it_had() -> None:
    given = results(one_run(0.5, 0.4, NAN, NAN), diverged=True)
    assert score_runs(given, "loss", "epoch:2") == pytest.approx(np.full((1, 2, 1), 0.4))


def test_the_last_five_of_a_run_that_diverged_hold_its_worst_for_each_lost_epoch() -> None:
    given = results(one_run(0.5, 0.4, NAN, NAN), diverged=True)
    assert score_runs(given, "loss", "last5") == pytest.approx(np.full((1, 2, 1), (0.5 + 0.4 + 1 + 1) / 4))


def test_a_run_that_diverged_is_never_flattered_by_the_guesses_of_its_broken_network() -> None:
    """In the epoch in which it diverges it still answers something: here rightly for more than its worst epoch."""
    given = results(one_run(2.0, NAN, NAN), accuracy=[0.05, 0.15, NAN], null_accuracy=0.11, diverged=True)
    for score in ("epoch:2", "epoch:3", "final"):
        assert score_runs(given, "accuracy", score) == pytest.approx(np.full((1, 2, 1), 0.95))


def test_a_run_that_diverged_with_a_finite_loss_has_diverged_nonetheless() -> None:
    """Its weights or its training loss were not finite: the last row that it has is the one in which it ended."""
    given = results(one_run(0.5, 0.4, NAN), diverged=True, num_measured=2)
    assert score_runs(given, "loss", "epoch:1") == pytest.approx(np.full((1, 2, 1), 0.5))
    assert score_runs(given, "loss", "epoch:2") == pytest.approx(np.full((1, 2, 1), 1.0))


@pytest.mark.parametrize(("null", "expected"), [(0.5, 0.8), (1.0, 1.0)])
def test_on_the_other_half_too_a_run_that_diverged_keeps_the_worse_of_null_and_its_worst(
    null: float, expected: float
) -> None:
    """Ten rows, five in A: B has 0.8 and 0.2, and its worst is not that of the whole less that of A."""
    given = results(one_run(0.5, 0.5, NAN), loss_a=[0.2, 0.8, NAN], null_loss=null, diverged=True)
    assert other_half(given, "loss")[0, 0, 0] == pytest.approx([0.8, 0.2, expected])


def test_the_best_of_a_run_that_diverged_at_once_is_no_better_than_null() -> None:
    """Its one epoch is lost; on half A its network was worse than null, on the whole set it was not."""
    given = results(one_run(0.6), loss_a=[1.1], null_loss=1.0, diverged=True, num_measured=1)
    assert score_runs(given, "loss", "best") == pytest.approx(np.full((1, 2, 1), 1.0))


def test_a_loss_that_is_infinite_is_not_the_worst_finite_one() -> None:
    given = results(one_run(2.0, np.inf), diverged=True, num_measured=2)
    assert score_runs(given, "loss", "final") == pytest.approx(np.full((1, 2, 1), 2.0))


@pytest.mark.parametrize(("score", "epoch"), [("final", 20), ("last5", 20), ("epoch:7", 7), ("best", None)])
def test_a_score_looks_up_to_an_epoch_unless_each_run_has_its_own(score: str, epoch: int | None) -> None:
    assert score_epoch(score, 20) == epoch
