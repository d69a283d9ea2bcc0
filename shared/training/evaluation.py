"""What is measured after an epoch, in evaluation mode: validation, its selection half, and memory of the dirt."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.catalog.losses import Loss
from shared.training.data import CorruptedRows, MemberData

MIN_ROWS_FOR_THREE_COEFFICIENTS = 4


@dataclass(frozen=True)
class Evaluation:
    """Validation scores averaged over samples; `*_a` over the first half of the rows, which are in random order."""

    val_loss: float
    val_accuracy: float | None
    val_loss_a: float
    val_accuracy_a: float | None
    memorization: float | None
    recovery: float | None


@torch.inference_mode()
def evaluate(network: nn.Module, data: MemberData, loss: Loss) -> Evaluation:
    """Judge a network on clean validation rows and on the training rows whose target was corrupted."""
    network.eval()
    outputs = _outputs(network, data, data.val_inputs)
    losses_N = loss.per_example(outputs, data.val_targets).double()
    half = len(losses_N) // 2
    is_classification = not data.val_targets.is_floating_point()
    correct_N = (outputs.argmax(dim=1) == data.val_targets).double() if is_classification else None
    memorization, recovery = _memory(network, data)
    network.train()
    return Evaluation(
        val_loss=losses_N.mean().item(),
        val_accuracy=None if correct_N is None else correct_N.mean().item(),
        val_loss_a=losses_N[:half].mean().item(),
        val_accuracy_a=None if correct_N is None else correct_N[:half].mean().item(),
        memorization=memorization,
        recovery=recovery,
    )


def _outputs(network: nn.Module, data: MemberData, rows: Tensor) -> Tensor:
    return torch.cat([network(data.prepare(part)) for part in rows.split(data.rows_at_once)])


def _memory(network: nn.Module, data: MemberData) -> tuple[float | None, float | None]:
    if data.corrupted is None:
        return None, None
    return memory_of(_outputs(network, data, data.corrupted.inputs), data.corrupted)


def memory_of(outputs_NC: Tensor, corrupted: CorruptedRows) -> tuple[float | None, float | None]:
    """Memorization and recovery of one network from its outputs for its corrupted rows."""
    dirty_N, true_N = corrupted.targets, corrupted.true_targets
    if dirty_N.is_floating_point():
        predictions, true, dirty = (part.double().cpu().numpy() for part in (outputs_NC.squeeze(-1), true_N, dirty_N))
        return noise_coefficient(predictions, true, dirty), None
    answers_N = outputs_NC.argmax(dim=1)
    return (answers_N == dirty_N).double().mean().item(), (answers_N == true_N).double().mean().item()


def noise_coefficient(
    predictions_N: NDArray[np.float64], true_N: NDArray[np.float64], dirty_N: NDArray[np.float64]
) -> float | None:
    """Coefficient of the dirty target in the least squares of the predictions on (1, true, dirty).

    Returns: 0 where the noise was ignored, 1 where it was memorised; None where the rows cannot tell.
    """
    if len(predictions_N) < MIN_ROWS_FOR_THREE_COEFFICIENTS or not np.isfinite(predictions_N).all():
        return None
    design = np.stack([np.ones_like(true_N), true_N, dirty_N], axis=1)
    coefficients, _, rank, _ = np.linalg.lstsq(design, predictions_N, rcond=None)
    return float(coefficients[2]) if rank == design.shape[1] else None
