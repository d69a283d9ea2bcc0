"""What all rivals share: the networks to train, their rows as arrays in memory, and what comes back.

Nothing here needs torch but the resizing of images, so that the memory of a rival without torch can be measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.catalog.activations import Activation
from shared.catalog.corruptions import corrupt
from shared.catalog.datasets import Dataset, ImageTransform
from shared.catalog.optimizers import Adam
from shared.spec import ExperimentSpec

IMAGES_RESIZED_AT_ONCE = 1000


@dataclass(frozen=True)
class Cell:
    """One network to train."""

    activation: Activation
    rate: float
    seed: int


@dataclass(frozen=True)
class Rows:
    """One network's data as the network takes it: float32 inputs, float32 or int64 targets."""

    train_inputs: NDArray[np.float32]
    train_targets: NDArray[Any]
    val_inputs: NDArray[np.float32]
    val_targets: NDArray[Any]

    def head(self, num_rows: int) -> "Rows":
        """The first rows of each part, to warm up with."""
        parts = (self.train_inputs, self.train_targets, self.val_inputs, self.val_targets)
        return Rows(*(part[:num_rows] for part in parts))


@dataclass(frozen=True)
class Outcome:
    """Validation losses, one list for each cell with one number for each epoch; seconds of compiling among the rest."""

    val_losses: list[list[float]]
    compile_s: float = 0.0


def cells_of(spec: ExperimentSpec) -> list[Cell]:
    """All networks of an experiment: by activation, then seed, then rate."""
    return [
        Cell(activation, rate, seed)
        for activation in spec.activations
        for seed in range(spec.num_seeds)
        for rate in spec.rates
    ]


def adam_of(spec: ExperimentSpec) -> Adam:
    """The optimiser's parameters; no rival knows another one."""
    assert isinstance(spec.training.optimizer, Adam)
    return spec.training.optimizer


def load_rows(spec: ExperimentSpec, cells: Sequence[Cell], *, datasets_dir: Path) -> list[Rows]:
    """The rows of each cell; arrays that do not differ between cells are held once."""
    loader = _Loader(spec, datasets_dir)
    return [loader.rows(cell) for cell in cells]


class _Loader:
    def __init__(self, spec: ExperimentSpec, datasets_dir: Path) -> None:
        self.spec, self.datasets_dir = spec, datasets_dir
        self._datasets: dict[int, Dataset] = {}
        self._conditions: dict[tuple[float, int], Rows] = {}
        # The array is kept beside what it became: an id may be given again once its object is gone.
        self._ready: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}

    def rows(self, cell: Cell) -> Rows:
        condition = (cell.rate, cell.seed)
        if condition not in self._conditions:
            self._conditions[condition] = self._load(cell.rate, cell.seed)
        return self._conditions[condition]

    def _load(self, rate: float, seed: int) -> Rows:
        spec = self.spec
        # A fixed split is the same for all seeds.
        key = seed if spec.dataset.fresh_for_each_seed else 0
        if key not in self._datasets:
            loaded = spec.dataset.load(base_seed=spec.base_seed, seed=seed, datasets_dir=self.datasets_dir)
            self._datasets[key] = loaded
        dataset = self._datasets[key]
        train = corrupt(dataset, spec.corruption, rate, base_seed=spec.base_seed, seed=seed)
        parts = (train.inputs, train.targets, dataset.val_inputs, dataset.val_targets)
        return Rows(*(self._prepared(part, dataset.transform) for part in parts))

    def _prepared(self, array: NDArray[Any], transform: ImageTransform | None) -> NDArray[Any]:
        if id(array) not in self._ready:
            self._ready[id(array)] = (array, _prepare(array, transform))
        return self._ready[id(array)][1]


def _prepare(array: NDArray[Any], transform: ImageTransform | None) -> NDArray[Any]:
    if transform is not None and array.ndim == 3:
        return _resized(array, transform)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _resized(images_NHW: NDArray[np.uint8], transform: ImageTransform) -> NDArray[np.float32]:
    """Images as float32 (N, 1, size, size); in pieces, so that the peak of memory is that of the result."""
    from torch import from_numpy
    from torch.nn.functional import interpolate

    size = (transform.size, transform.size)
    resized = np.empty((len(images_NHW), 1, *size), dtype=np.float32)
    for first in range(0, len(images_NHW), IMAGES_RESIZED_AT_ONCE):
        piece = from_numpy(images_NHW[first : first + IMAGES_RESIZED_AT_ONCE]).float().unsqueeze(1) * transform.scale
        resized[first : first + len(piece)] = interpolate(piece, size=size, mode="bilinear").numpy()
    return resized
