"""What a data set entry promises, and the arrays that it loads."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from shared.catalog.base import Entry, Task
from shared.catalog.layers import Shape
from shared.seeds import NO_SEED

AnyArray = NDArray[Any]
# What the fields of every data set are said to be.
TRAIN_SIZE = "Number of training rows."
VAL_SIZE = "Number of validation rows, which are always clean."
InferenceScope = Literal["fresh_data", "resampled_split", "fixed_split"]


@dataclass(frozen=True)
class ImageTransform:
    """How stored bytes become a network's input: `scale` * byte + `offset`, resized bilinearly to `size` x `size`."""

    size: int
    scale: float
    offset: float = 0.0
    # The largest byte, a fully bright pixel; 0 is black.
    white: int = 255


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
    # Inputs and targets that dirty conditions start from where they were not split off together with the clean ones.
    dirty_train: tuple[AnyArray, AnyArray] | None = None

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

    @property
    def white(self) -> float:
        """What a fully bright pixel is stored as; 1 where inputs are features."""
        return 1.0 if self.transform is None else self.transform.white

    def under_dirt(self) -> "Dataset":
        """The same data with the training rows that dirty conditions start from."""
        if self.dirty_train is None:
            return self
        inputs, targets = self.dirty_train
        return replace(self, train_inputs=inputs, train_targets=targets)


class DatasetEntry(Entry):
    """A data set; `defaults` are the other parts of a spec that names nothing but this data set."""

    task: ClassVar[Task]
    defaults: ClassVar[dict[str, Any]]
    # Whether each seed generates data of its own.
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
    def inference_scope(self) -> InferenceScope:
        """What intervals over seeds describe: new data, new splits of the same data, or retraining on one split.

        With `resampled_split` the splits overlap, so that the variance over seeds is too small by far: the analysis
        has to replace 1/n by 1/n + val_size / train_size (Nadeau & Bengio 2003).
        """
        return "fresh_data" if self.fresh_for_each_seed else "fixed_split"

    def seed_of_data(self, seed: int) -> int:
        """The seed from which the data, or the split, of a trial is drawn."""
        return NO_SEED if self.inference_scope == "fixed_split" else seed

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
