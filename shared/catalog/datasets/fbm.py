"""The study's infinite multivariate data set: y is the mean of hidden functions of independently shuffled columns."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shared.catalog.datasets.base import TRAIN_SIZE, VAL_SIZE, Dataset, DatasetEntry
from shared.catalog.layers import Shape
from shared.seeds import numpy_stream

Array = NDArray[np.float64]

STEP = 0.25
NUM_CONSTANTS = 11

# The five functions of the study; c are its eleven constants.
FUNCTIONS: tuple[Callable[[Array, Array], Array], ...] = (
    lambda x, c: c[0] * np.sin(x),
    lambda x, c: c[1] * np.cos(x),
    lambda x, c: c[2] * x + c[3],
    lambda x, c: c[4] * x**2 + c[5] * x + c[6],
    lambda x, c: c[7] * x**3 + c[8] * x**2 + c[9] * x + c[10],
)


class Fbm(DatasetEntry):
    title = "Functions behind the mean"
    formula = (
        "x_k: n steps of 0.25 centred on 0, shuffled for each column; y = mean over k of standardised "
        "f_k(frequency * x_k), "
        "f in {c0 sin x, c1 cos x, c2 x + c3, c4 x^2 + c5 x + c6, c7 x^3 + c8 x^2 + c9 x + c10}, c ~ U[-1, 1); "
        "columns beyond the fifth repeat randomly chosen ones; inputs standardised"
    )
    source = "Harrison, On the robustness of activation functions"
    task = "regression"
    fresh_for_each_seed = True
    defaults = {
        "architecture": {"kind": "mlp", "hidden": [128, 64], "batch_norm": True},
        "corruption": {"kind": "gaussian", "rates": [0.1], "sd": 0.5, "on": "inputs_and_target"},
        "training": {
            "epochs": 20,
            "batch_size": 64,
            "loss": "mse",
            "optimizer": {"kind": "adam", "lr": 0.001, "weight_decay": 1e-10},
        },
    }
    kind: Literal["fbm"] = "fbm"
    num_columns: Annotated[int, Field(ge=1, le=1000, description="Number of input columns.")] = 10
    train_size: Annotated[int, Field(ge=10, le=1_000_000, description=TRAIN_SIZE)] = 5000
    val_size: Annotated[int, Field(ge=10, le=1_000_000, description=VAL_SIZE)] = 2000
    frequency: Annotated[float, Field(gt=0, le=1000)] = Field(
        1.0, description="Factor on the functions' argument; at 1, as in the study, sin and cos run through 280 cycles."
    )
    dirty_split: Literal["shared", "independent"] = Field(
        "shared",
        description="`independent`, as in the study's notebooks: dirty conditions train on a split of their own, in "
        "which most validation rows are.",
    )

    @property
    def input_shape(self) -> Shape:
        return (self.num_columns,)

    @property
    def example_bytes(self) -> int:
        return 8 * (self.num_columns + 1)

    def load(self, *, base_seed: int, seed: int, datasets_dir: Path) -> Dataset:  # noqa: ARG002 (nothing on disk)
        inputs_NF, targets_N = self._rows(base_seed, seed)
        split = self.train_size  # rows are in random order already: every column was shuffled
        dirty_train = None
        if self.dirty_split == "independent":
            drawn = numpy_stream(base_seed, seed, "fbm_dirty_split").permutation(len(targets_N))[:split]
            dirty_train = (inputs_NF[drawn], targets_N[drawn])
        return Dataset(
            inputs_NF[:split], targets_N[:split], inputs_NF[split:], targets_N[split:],
            num_classes=None, transform=None, dirty_train=dirty_train,
        )  # fmt: skip

    def _rows(self, base_seed: int, seed: int) -> tuple[Array, Array]:
        """All rows of a seed: standardised inputs (N, F) and targets (N,)."""
        num_rows = self.train_size + self.val_size
        domain_N = (np.arange(num_rows) - num_rows / 2) * STEP
        shuffle = numpy_stream(base_seed, seed, "fbm_shuffle")
        inputs_NF = np.stack([shuffle.permutation(domain_N) for _ in range(self.num_columns)], axis=1)
        constants = numpy_stream(base_seed, seed, "fbm_constants").uniform(-1, 1, NUM_CONSTANTS)
        transformed_NF = np.stack(
            [
                function(self.frequency * inputs_NF[:, k], constants)
                for k, function in enumerate(self._functions(base_seed, seed))
            ],
            axis=1,
        )
        return _standardise(inputs_NF), _standardise(transformed_NF).mean(axis=1)

    def _functions(self, base_seed: int, seed: int) -> list[Callable[[Array, Array], Array]]:
        num_repeated = max(0, self.num_columns - len(FUNCTIONS))
        repeated = numpy_stream(base_seed, seed, "fbm_columns").integers(0, len(FUNCTIONS), num_repeated)
        return [*FUNCTIONS[: self.num_columns], *(FUNCTIONS[index] for index in repeated)]


def _standardise(values_NF: Array) -> Array:
    standardised: Array = (values_NF - values_NF.mean(axis=0)) / values_NF.std(axis=0)
    return standardised
