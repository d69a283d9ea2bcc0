"""What dirt promises: which training rows it hits at a rate, and what each of them would become.

Each training row has one rank and one replacement, drawn from streams that know neither the rate nor the activation:
at a rate, the rows of lowest rank are replaced, so that the sets of rising rates are nested.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from shared.catalog.base import Entry, Task
from shared.catalog.datasets.base import AnyArray, Dataset, DatasetEntry
from shared.seeds import numpy_stream

Rate = Annotated[float, Field(gt=0, lt=1)]
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Replacements:
    """What each training row becomes once it is corrupted; None where dirt leaves that side alone."""

    inputs: AnyArray | None = None
    targets: AnyArray | None = None


@dataclass(frozen=True)
class Misfit:
    """Why a corruption cannot be used with a data set; `field` is the one to change."""

    field: str
    detail: str


class Corruption(Entry):
    """A kind of dirt and the rates at which it is tried; the clean condition is always trained beside them."""

    rates: Annotated[
        tuple[Rate, ...],
        Field(
            strict=False, min_length=1, max_length=20,
            description="Shares of dirty training rows, each a condition of its own; clean is always trained beside.",
        ),
    ] = (0.1,)  # fmt: skip

    @field_validator("rates")
    @classmethod
    def _distinct(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(rates)) < len(rates):
            raise ValueError("the rates must differ from one another")
        return rates

    def fits(self, task: Task) -> bool:
        """Whether this dirt makes sense for the task."""
        raise NotImplementedError

    def misfit(self, dataset: DatasetEntry) -> Misfit | None:
        """What is wrong with this dirt for a data set whose task it fits."""
        del dataset
        return None

    def seed_of_arm(self, seed: int, rate: float) -> int:
        """The seed from which a network trained at `rate` draws everything: its trial's, so that arms are paired."""
        del rate
        return seed

    def mask(self, dataset: Dataset, rate: float, *, base_seed: int, seed: int) -> NDArray[np.bool_]:
        """Which training rows are corrupted at a rate above 0."""
        return self.ranks(dataset, base_seed=base_seed, seed=seed) < num_corrupted(rate, len(dataset.train_targets))

    def ranks(self, dataset: Dataset, *, base_seed: int, seed: int) -> NDArray[np.int64]:
        """The rank of each training row, a permutation; the lowest are corrupted first."""
        return numpy_stream(base_seed, seed, "corruption_rows").permutation(len(dataset.train_targets))

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        """Draw what every training row would become."""
        raise NotImplementedError


def num_corrupted(rate: float, num_rows: int) -> int:
    """How many of `num_rows` training rows are corrupted at `rate`."""
    return round(rate * num_rows)


def in_parts(num_rows: int) -> Iterator[slice]:
    """All rows in slices short enough that a large set needs no second large array of floats."""
    return (slice(first, min(first + ROWS_AT_ONCE, num_rows)) for first in range(0, num_rows, ROWS_AT_ONCE))
