"""The dirt: it hits training rows only, exactly round(rate * N) of them, and the sets of rising rates are nested."""

from typing import TYPE_CHECKING

from shared.catalog.base import family, one_of
from shared.catalog.corruptions import columns, control, images, labels  # noqa: F401 (registers them)
from shared.catalog.corruptions.applied import TrainingSet, corrupt
from shared.catalog.corruptions.base import Corruption, num_corrupted
from shared.catalog.corruptions.columns import Gaussian
from shared.catalog.corruptions.labels import Symmetric

__all__ = [
    "CORRUPTIONS", "AnyCorruption", "Corruption", "Gaussian", "Symmetric", "TrainingSet", "corrupt", "num_corrupted",
]  # fmt: skip

CORRUPTIONS = family(Corruption)
if TYPE_CHECKING:
    AnyCorruption = Corruption
else:
    AnyCorruption = one_of(Corruption, "corruption")
