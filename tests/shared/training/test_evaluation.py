from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.catalog.losses import LOSSES, Loss
from shared.training.data import CorruptedRows, MemberData, Preparation
from shared.training.evaluation import evaluate, noise_coefficient
from shared.training.population import MemberFacts
from tests.shared.specs import make

FACTS = MemberFacts(null_loss=1.0, null_accuracy=None, realised_rate=0.0, mask_hash="")


class Formula(nn.Module):
    """A network that answers what a test wants, and notes in which mode it was asked."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula
        self.modes: set[bool] = set()
        self.most_rows = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.modes.add(self.training)
        self.most_rows = max(self.most_rows, len(inputs))
        return self.formula(inputs)


def data(
    val_inputs: Tensor, val_targets: Tensor, *, corrupted: CorruptedRows | None = None, rows_at_once: int = 100
) -> MemberData:
    prepare = Preparation(None, stored_size=1, dtype=torch.float64, device=torch.device("cpu"))
    return MemberData(
        torch.zeros(1, 1), torch.zeros(1), val_inputs, val_targets, corrupted, prepare, rows_at_once, FACTS
    )


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def loss(kind: str) -> Loss:
    return make(LOSSES, kind)


def one_hot(classes: Tensor) -> Tensor:
    return nn.functional.one_hot(classes.long().squeeze(1), 3).double()


def test_validation_loss_is_the_mean_over_samples_and_its_half_that_of_the_first_rows() -> None:
    """Predictions 0, targets 1, 2, 3, 4, 5: squares 1, 4, 9, 16, 25; the selection half is the first two."""
    result = evaluate(Formula(torch.zeros_like), data(column(0, 0, 0, 0, 0), torch.arange(1.0, 6.0)), loss("mse"))
    assert result.val_loss == pytest.approx(55 / 5)
    assert result.val_loss_a == pytest.approx(5 / 2)
    assert result.val_accuracy is None
    assert result.val_accuracy_a is None
    assert result.memorization is None
    assert result.recovery is None


def test_accuracy_is_the_share_of_right_classes() -> None:
    targets = torch.tensor([0, 1, 2, 2, 1])
    result = evaluate(Formula(one_hot), data(column(0, 1, 1, 2, 1), targets), loss("cross_entropy"))
    assert result.val_accuracy == 0.8
    assert result.val_accuracy_a == 1.0
    right, wrong = np.log(np.e + 2) - 1, np.log(np.e + 2)
    assert result.val_loss == pytest.approx((4 * right + wrong) / 5)


@pytest.mark.parametrize("num_rows", [1, 15, 16, 17, 40])
def test_rows_weigh_alike_however_they_are_cut_into_chunks(num_rows: int) -> None:
    inputs = torch.randn(num_rows, 1, dtype=torch.float64)
    network = Formula(lambda rows: rows * 2)
    targets = torch.zeros(num_rows, dtype=torch.float64)
    result = evaluate(network, data(inputs, targets, rows_at_once=16), loss("mse"))
    assert network.most_rows <= 16
    assert result.val_loss == pytest.approx((4 * inputs**2).mean().item())


def test_a_network_is_judged_in_evaluation_mode_and_goes_on_training() -> None:
    network = Formula(torch.zeros_like).train()
    corrupted = CorruptedRows(column(0), torch.tensor([1.0]), torch.tensor([0.0]))
    evaluate(network, data(column(0, 0), torch.zeros(2), corrupted=corrupted), loss("mse"))
    assert network.modes == {False}
    assert network.training


def test_evaluation_leaves_weights_gradients_and_statistics_alone() -> None:
    network = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    evaluate(network, data(column(1, 2, 3, 4), torch.zeros(4)), loss("mse"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_memorization_is_the_share_of_wrong_labels_learned_and_recovery_that_of_true_ones() -> None:
    """Of five dirty rows two are answered as their wrong label says, one with the true one, two with neither."""
    corrupted = CorruptedRows(
        column(1, 2, 0, 2, 0), targets=torch.tensor([1, 2, 1, 1, 1]), true_targets=torch.tensor([0, 0, 0, 0, 2])
    )
    result = evaluate(
        Formula(one_hot), data(column(0, 1), torch.tensor([0, 1]), corrupted=corrupted), loss("cross_entropy")
    )
    assert result.memorization == pytest.approx(2 / 5)
    assert result.recovery == pytest.approx(1 / 5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_memorization_of_noisy_targets_is_how_far_predictions_follow_the_noise(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(20, dtype=torch.float64, generator=generator)
    dirty = true + torch.randn(20, dtype=torch.float64, generator=generator)
    answers = (1 - share) * true + share * dirty
    corrupted = CorruptedRows(answers.unsqueeze(1), dirty, true)
    result = evaluate(Formula(lambda rows: rows), data(column(0, 1), torch.zeros(2), corrupted=corrupted), loss("mse"))
    assert result.memorization == pytest.approx(share, abs=1e-12)
    assert result.recovery is None


rng = np.random.default_rng(0)
TRUE, DIRTY = rng.normal(size=30), rng.normal(size=30)


@pytest.mark.parametrize(
    ("predictions", "coefficient"),
    [
        (TRUE, 0.0),
        (DIRTY, 1.0),
        (0.7 * TRUE + 0.3 * DIRTY, 0.3),
        (5 - 2 * TRUE + 0.25 * DIRTY, 0.25),
        (TRUE * 0 + 4, 0.0),
    ],
    ids=["ignored", "memorised", "a third", "whatever the rest", "a constant"],
)
def test_the_coefficient_of_the_noise_by_hand(predictions: np.ndarray, coefficient: float) -> None:
    assert noise_coefficient(predictions, TRUE, DIRTY) == pytest.approx(coefficient, abs=1e-12)


def test_the_coefficient_of_the_noise_is_that_of_a_regression_on_residuals() -> None:
    """Frisch, Waugh and Lovell: regress what (1, true) leaves of predictions on what it leaves of the dirty target."""
    predictions = rng.normal(size=30)
    design = np.column_stack([np.ones(30), TRUE])
    left = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (predictions, DIRTY)]
    assert noise_coefficient(predictions, TRUE, DIRTY) == pytest.approx(left[0] @ left[1] / (left[1] @ left[1]))


@pytest.mark.parametrize(
    ("predictions", "true", "dirty"),
    [
        (TRUE[:3], TRUE[:3], DIRTY[:3]),
        (np.full(30, np.nan), TRUE, DIRTY),
        (np.full(30, np.inf), TRUE, DIRTY),
        (TRUE, TRUE, TRUE + 1),
        (TRUE, np.ones(30), DIRTY),
    ],
    ids=["too few rows", "not a number", "infinite", "the same shift everywhere", "one true value"],
)
def test_rows_that_cannot_tell_have_no_coefficient(
    predictions: np.ndarray, true: np.ndarray, dirty: np.ndarray
) -> None:
    assert noise_coefficient(predictions, true, dirty) is None
