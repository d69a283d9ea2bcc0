"""What a data set entry promises, and the arrays that it loads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.catalog.base import Entry, Task
from shared.catalog.layers import Shape

AnyArray = NDArray[Any]


@dataclass(frozen=True)
class ImageTransform:
    """How stored bytes become a network's input: multiplied by `scale`, resized bilinearly to `size` x `size`."""

    size: int
    scale: float


@dataclass(frozen=True)
class Dataset:
    """One seed's clean data. N rows; inputs are float64 features (N, F) or uint8 images (N, height, width).

    Targets are float64 (N,) for regression and int64 class numbers (N,) for classification.
    Validation rows are in random order and disjoint from the training rows.
    """

    train_inputs: AnyArray
    train_targets: AnyArray
    val_inputs: AnyArray
    val_targets: AnyArray
    num_classes: int | None
    transform: ImageTransform | None

    @property
    def num_outputs(self) -> int:
        """Width of the network's last layer."""
        return self.num_classes or 1

    @property
    def input_shape(self) -> Shape:
        """Shape of one example as the network sees it."""
        if self.transform is None:
            return tuple(self.train_inputs.shape[1:])
        return (1, self.transform.size, self.transform.size)


class DatasetEntry(Entry):
    """A data set; `defaults` are the other parts of a spec that names nothing but this data set."""

    task: ClassVar[Task]
    defaults: ClassVar[dict[str, Any]]
    # Generated data is fresh for each seed; a finite set keeps one split, so its intervals describe retraining only.
    fresh_for_each_seed: ClassVar[bool]

    train_size: int
    val_size: int

    @property
    def input_shape(self) -> Shape:
        """Shape of one example as the network sees it."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for regression."""
        return None

    @property
    def example_bytes(self) -> int:
        """Bytes that one stored example takes in memory."""
        raise NotImplementedError

    def missing(self, datasets_dir: Path) -> str | None:
        """The command that fetches the data set where its files are not on disk, else None."""
        del datasets_dir
        return None

    def load(self, *, base_seed: int, seed: int, datasets_dir: Path) -> Dataset:
        """Generate or read the clean data of one seed."""
        raise NotImplementedError


def rows(array: AnyArray, indices: NDArray[np.int64]) -> AnyArray:
    """A contiguous copy of some rows."""
    return np.ascontiguousarray(array[indices])
