"""The dirt: it hits training rows only, exactly round(rate * N) of them, and the sets of rising rates are nested.

Each training row has one rank and one replacement, drawn from streams that know neither the rate nor the activation:
at a rate, the rows of lowest rank are replaced.
"""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from shared.catalog.base import Entry, Task, family, one_of
from shared.catalog.datasets.base import AnyArray, Dataset
from shared.seeds import numpy_stream

Rate = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Replacements:
    """What each training row becomes once it is corrupted; None where dirt leaves that side alone."""

    inputs: AnyArray | None
    targets: AnyArray | None


@dataclass(frozen=True)
class TrainingSet:
    """The rows a network trains on; `rows` are the corrupted ones, `true_targets` what all targets were before."""

    inputs: AnyArray
    targets: AnyArray
    true_targets: AnyArray
    rows: NDArray[np.int64]
    realised_rate: float
    mask_hash: str


class Corruption(Entry):
    """A kind of dirt and the rates at which it is tried; the clean condition is always trained beside them."""

    rates: Annotated[tuple[Rate, ...], Field(strict=False, min_length=1, max_length=20)] = (0.1,)

    @field_validator("rates")
    @classmethod
    def _distinct(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(rates)) < len(rates):
            raise ValueError("the rates must differ from one another")
        return rates

    def fits(self, task: Task) -> bool:
        """Whether this dirt makes sense for the task."""
        raise NotImplementedError

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        """Draw what every training row would become."""
        raise NotImplementedError


class Gaussian(Corruption):
    title = "Gaussian noise"
    formula = "x~ = x + N(0, sd) on every standardised input, y~ = y + N(0, sd)"
    source = "Harrison, On the robustness of activation functions"
    kind: Literal["gaussian"] = "gaussian"
    sd: Annotated[float, Field(gt=0, le=1000)] = 0.5
    on: Literal["inputs", "target", "inputs_and_target"] = "inputs_and_target"

    def fits(self, task: Task) -> bool:
        return task == "regression"

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        # Two streams: noise on the inputs alone is the noise of both, less the target's.
        inputs = targets = None
        if self.on != "target":
            noise = numpy_stream(base_seed, seed, "corruption_inputs").normal(0, self.sd, dataset.train_inputs.shape)
            inputs = dataset.train_inputs + noise
        if self.on != "inputs":
            noise = numpy_stream(base_seed, seed, "corruption_targets").normal(0, self.sd, dataset.train_targets.shape)
            targets = dataset.train_targets + noise
        return Replacements(inputs, targets)


class Symmetric(Corruption):
    title = "Symmetric label noise"
    formula = "y~ uniform over the other classes; with exclusive = false over all classes, the true one included"
    source = "Patrini, Rozza, Menon, Nock & Qu 2017, Making deep neural networks robust to label noise"
    kind: Literal["symmetric"] = "symmetric"
    exclusive: bool = True

    def fits(self, task: Task) -> bool:
        return task == "classification"

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        assert dataset.num_classes is not None
        offsets = numpy_stream(base_seed, seed, "corruption_targets").integers(
            1 if self.exclusive else 0, dataset.num_classes, len(dataset.train_targets)
        )
        return Replacements(None, (dataset.train_targets + offsets) % dataset.num_classes)


CORRUPTIONS = family(Corruption)
if TYPE_CHECKING:
    AnyCorruption = Corruption
else:
    AnyCorruption = one_of(Corruption, "corruption")


def num_corrupted(rate: float, num_rows: int) -> int:
    """How many of `num_rows` training rows are corrupted at `rate`."""
    return round(rate * num_rows)


def corrupt(dataset: Dataset, corruption: Corruption, rate: float, *, base_seed: int, seed: int) -> TrainingSet:
    """The training rows of one condition.

    Args:
        rate: share of corrupted rows; 0 gives the clean rows unchanged.
    Returns: N rows as in `dataset`; arrays that dirt leaves alone are shared with it, not copied.
    """
    num_rows = len(dataset.train_targets)
    ranks = numpy_stream(base_seed, seed, "corruption_rows").permutation(num_rows)
    mask = ranks < num_corrupted(rate, num_rows)
    chosen = np.flatnonzero(mask)
    replacements = corruption.replacements(dataset, base_seed=base_seed, seed=seed)
    inputs = _replace(dataset.train_inputs, replacements.inputs, chosen)
    targets = _replace(dataset.train_targets, replacements.targets, chosen)
    return TrainingSet(
        inputs, targets, dataset.train_targets, chosen,
        realised_rate=_share_changed(dataset, inputs, targets),
        mask_hash=hashlib.sha256(np.packbits(mask).tobytes()).hexdigest(),
    )  # fmt: skip


def _replace(clean: AnyArray, replacement: AnyArray | None, chosen: NDArray[np.int64]) -> AnyArray:
    if replacement is None or len(chosen) == 0:
        return clean
    dirty = clean.copy()
    dirty[chosen] = replacement[chosen]
    return dirty


def _share_changed(dataset: Dataset, inputs: AnyArray, targets: AnyArray) -> float:
    """Inclusive label noise may draw the true class: such a row is chosen, yet unchanged."""
    changed = targets != dataset.train_targets
    if inputs is not dataset.train_inputs:
        changed = changed | (inputs != dataset.train_inputs).reshape(len(inputs), -1).any(axis=1)
    return float(changed.mean())
