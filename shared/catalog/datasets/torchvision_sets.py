"""The one place that imports torchvision, and what it takes to import it beside a CPU-only torch."""

from pathlib import Path
from typing import Any

import torch
from torch import library

# torchvision's public wheel is linked against CUDA torch. Beside a CPU-only torch its compiled operators cannot load,
# and the import fails where it registers a fake kernel for these two. Data sets and transforms need neither.
_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _import_datasets() -> Any:
    if torch.version.cuda is None:
        for name, schema in _OPERATORS.items():
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"torchvision::{name}", schema)
    from torchvision import datasets

    return datasets


def open_set(folder: str, root: Path, *, train: bool, download: bool) -> Any:
    """torchvision's `MNIST` or `FashionMNIST` (`folder`) below `root`."""
    return getattr(_import_datasets(), folder)(str(root), train=train, download=download)
