"""The data sets: generated ones and those on disk."""

from pathlib import Path
from typing import TYPE_CHECKING

from shared.catalog.base import family, one_of, suggestion
from shared.catalog.datasets import fbm as fbm  # the import registers its entry
from shared.catalog.datasets import images
from shared.catalog.datasets import shapeset as shapeset
from shared.catalog.datasets.base import Dataset, DatasetEntry, ImageTransform
from shared.errors import NotFoundError

__all__ = ["DATASETS", "AnyDataset", "Dataset", "DatasetEntry", "ImageTransform", "fetch"]

DATASETS = family(DatasetEntry)
if TYPE_CHECKING:
    AnyDataset = DatasetEntry
else:
    AnyDataset = one_of(DatasetEntry, "data set")


def fetch(name: str, datasets_dir: Path) -> None:
    """Download a data set by the name that `actrobust datasets fetch` takes.

    Raises: NotFoundError: nothing of that name can be fetched.
    """
    fetchable = {entry.command_name: entry for entry in DATASETS.values() if issubclass(entry, images.TorchvisionEntry)}
    if name not in fetchable:
        raise NotFoundError(f"there is no data set '{name}' to fetch; {suggestion(name, list(fetchable))}")
    fetchable[name].fetch(datasets_dir)
