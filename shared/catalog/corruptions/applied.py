"""The training rows of one condition."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.catalog.corruptions.base import Corruption, Replacements
from shared.catalog.datasets.base import AnyArray, Dataset


@dataclass(frozen=True)
class TrainingSet:
    """The rows a network trains on; `rows` are the corrupted ones, `true_targets` what all targets were before."""

    inputs: AnyArray
    targets: AnyArray
    true_targets: AnyArray
    rows: NDArray[np.int64]
    realised_rate: float
    mask_hash: str


def corrupt(dataset: Dataset, corruption: Corruption, rate: float, *, base_seed: int, seed: int) -> TrainingSet:
    """The training rows of one condition.

    Args:
        rate: share of corrupted rows; 0 gives the clean rows unchanged.
    Returns: N rows as in `dataset`; arrays that dirt leaves alone are shared with it, not copied.
    """
    mask = np.zeros(len(dataset.train_targets), dtype=np.bool_)
    replacements = Replacements()
    if rate > 0:
        dataset = dataset.under_dirt()
        mask = corruption.mask(dataset, rate, base_seed=base_seed, seed=seed)
        replacements = corruption.replacements(dataset, base_seed=base_seed, seed=seed)
    chosen = np.flatnonzero(mask)
    inputs = _replace(dataset.train_inputs, replacements.inputs, chosen)
    targets = _replace(dataset.train_targets, replacements.targets, chosen)
    return TrainingSet(
        inputs, targets, dataset.train_targets, chosen,
        realised_rate=_share_changed(dataset, inputs, targets, chosen),
        mask_hash=hashlib.sha256(np.packbits(mask).tobytes()).hexdigest(),
    )  # fmt: skip


def _replace(clean: AnyArray, replacement: AnyArray | None, chosen: NDArray[np.int64]) -> AnyArray:
    if replacement is None or len(chosen) == 0:
        return clean
    dirty = clean.copy()
    dirty[chosen] = replacement[chosen]
    return dirty


def _share_changed(dataset: Dataset, inputs: AnyArray, targets: AnyArray, chosen: NDArray[np.int64]) -> float:
    """Inclusive label noise may draw the true class: such a row is chosen, yet unchanged."""
    changed = targets[chosen] != dataset.train_targets[chosen]
    if inputs is not dataset.train_inputs:
        differs = inputs[chosen] != dataset.train_inputs[chosen]
        changed = changed | differs.reshape(len(chosen), -1).any(axis=1)
    return float(changed.sum() / len(targets))
