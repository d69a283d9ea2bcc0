from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.catalog.losses import LOSSES, null_accuracy
from tests.shared.specs import make

Array = NDArray[np.float64]

TORCH: dict[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
    "cross_entropy": functional.cross_entropy,
}
rng = np.random.default_rng(0)
OUTPUTS = {"regression": rng.normal(size=(50, 1)), "classification": rng.normal(size=(50, 4)) * 3}
TARGETS = {"regression": rng.standard_t(2, size=50) * 2, "classification": rng.choice(4, 50, p=[0.5, 0.3, 0.15, 0.05])}

every_loss = pytest.mark.parametrize("kind", LOSSES)


@every_loss
def test_a_loss_per_example_is_torchs(kind: str) -> None:
    task = LOSSES[kind].task
    outputs, targets = torch.from_numpy(OUTPUTS[task]), torch.from_numpy(TARGETS[task])
    losses = make(LOSSES, kind).per_example(outputs, targets)
    expected = TORCH[kind](outputs.squeeze(-1), targets, reduction="none")
    assert losses.shape == (50,)
    torch.testing.assert_close(losses, expected)


@every_loss
def test_the_loss_of_a_perfect_answer_is_zero(kind: str) -> None:
    task = LOSSES[kind].task
    targets = torch.from_numpy(TARGETS[task])
    perfect = targets.unsqueeze(1) if task == "regression" else 1000.0 * functional.one_hot(targets, 4)
    assert make(LOSSES, kind).per_example(perfect, targets).tolist() == [0.0] * 50


@every_loss
def test_a_loss_of_a_single_example_is_no_scalar(kind: str) -> None:
    task = LOSSES[kind].task
    outputs, targets = torch.from_numpy(OUTPUTS[task][:1]), torch.from_numpy(TARGETS[task][:1])
    assert make(LOSSES, kind).per_example(outputs, targets).shape == (1,)


@pytest.mark.parametrize("kind", [kind for kind, loss in LOSSES.items() if loss.task == "regression"])
def test_the_null_score_of_a_regression_is_that_of_the_best_constant(kind: str) -> None:
    targets = TARGETS["regression"]
    constants = torch.linspace(float(targets.min()), float(targets.max()), 200_001, dtype=torch.float64)
    means = [
        TORCH[kind](part[:, None].expand(-1, 50), torch.from_numpy(targets).expand(len(part), -1), reduction="none")
        .mean(dim=1)
        .min()
        .item()
        for part in constants.split(20_000)
    ]
    assert make(LOSSES, kind).null_score(targets) == pytest.approx(min(means), abs=1e-6)
    assert make(LOSSES, kind).null_score(targets) <= min(means) + 1e-9


def test_the_null_score_of_cross_entropy_is_that_of_the_class_priors() -> None:
    targets = TARGETS["classification"]
    priors = torch.from_numpy(np.bincount(targets) / len(targets))
    best = functional.cross_entropy(priors.log().expand(50, -1), torch.from_numpy(targets)).item()
    assert make(LOSSES, "cross_entropy").null_score(targets) == pytest.approx(best, rel=1e-12)


def test_the_null_score_of_balanced_classes_is_the_logarithm_of_their_number() -> None:
    assert make(LOSSES, "cross_entropy").null_score(np.arange(10)) == pytest.approx(np.log(10))


def test_the_null_score_passes_over_classes_that_do_not_occur() -> None:
    assert make(LOSSES, "cross_entropy").null_score(np.array([3, 3, 3])) == 0.0


def test_the_null_accuracy_is_the_share_of_the_largest_class() -> None:
    assert null_accuracy(np.array([0, 1, 1, 2, 1])) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("kind", "expected"),
    # Constants 2, 1 and 1.5: hand-computed for the targets 0, 1, 1, 6.
    [("mse", (4 + 1 + 1 + 16) / 4), ("mae", (1 + 0 + 0 + 5) / 4)],
)
def test_null_scores_of_four_targets_by_hand(kind: str, expected: float) -> None:
    assert make(LOSSES, kind).null_score(np.array([0.0, 1.0, 1.0, 6.0])) == pytest.approx(expected)
