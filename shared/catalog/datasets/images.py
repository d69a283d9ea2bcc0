"""Finite image sets for classification, split with equal shares of the classes; pixels stay bytes in memory."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from shared.catalog.datasets.base import (
    TRAIN_SIZE,
    VAL_SIZE,
    AnyArray,
    Dataset,
    DatasetEntry,
    ImageTransform,
    InferenceScope,
    rows,
)
from shared.catalog.layers import Shape
from shared.seeds import stream_seed

NUM_CLASSES = 10
ImageSize = Annotated[
    int, Field(ge=4, le=256, description="Side in pixels that the images are resized to, bilinearly.")
]
Split = Literal["fixed", "per_seed"]


class ImageEntry(DatasetEntry):
    """Images with ten classes; `image_size` is the side to which they are resized bilinearly.

    A fixed split depends on `base_seed`, never on the seed; `per_seed` draws another one for each seed.
    """

    task = "classification"
    fresh_for_each_seed = False
    num_images: ClassVar[int]
    stored_size: ClassVar[int]
    white: ClassVar[int]

    image_size: int
    split: Split = Field("fixed", description="`per_seed` splits anew for each seed; such splits overlap.")

    @model_validator(mode="after")
    def _fits_the_images_there_are(self) -> Self:
        if self.train_size + self.val_size > self.num_images:
            raise ValueError(f"'train_size' and 'val_size' must add up to at most {self.num_images} images")
        return self

    @property
    def inference_scope(self) -> InferenceScope:
        return "resampled_split" if self.split == "per_seed" else "fixed_split"

    @property
    def input_shape(self) -> Shape:
        return (1, self.image_size, self.image_size)

    @property
    def num_classes(self) -> int:
        return NUM_CLASSES

    @property
    def example_bytes(self) -> int:
        return self.stored_size**2 + 8

    @property
    def scale(self) -> float:
        """Factor from a stored byte to the network's input."""
        return 1 / self.white

    def images(self, datasets_dir: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """All images (N, height, width) and their classes (N,)."""
        raise NotImplementedError

    def load(self, *, base_seed: int, seed: int, datasets_dir: Path) -> Dataset:
        images, classes = self.images(datasets_dir)
        train, val = _stratified_split(
            classes, self.train_size, self.val_size, stream_seed(base_seed, self.seed_of_data(seed), "split")
        )
        return Dataset(
            rows(images, train), classes[train], rows(images, val), classes[val],
            num_classes=NUM_CLASSES, transform=ImageTransform(self.image_size, self.scale, white=self.white),
        )  # fmt: skip


def _stratified_split(classes: AnyArray, train_size: int, val_size: int, random_seed: int) -> list[NDArray[np.int64]]:
    from sklearn.model_selection import train_test_split

    indices = np.arange(len(classes))
    split: list[NDArray[np.int64]] = train_test_split(
        indices, train_size=train_size, test_size=val_size, stratify=classes, random_state=random_seed % 2**32
    )
    return split


CNN_DEFAULTS: dict[str, Any] = {
    "architecture": {"kind": "harrison_cnn"},
    "corruption": {"kind": "symmetric", "rates": [0.1], "exclusive": True},
    "training": {
        "epochs": 25,
        "batch_size": 128,
        "loss": "cross_entropy",
        "optimizer": {"kind": "adam", "lr": 0.001, "weight_decay": 1e-10},
        "schedule": {"kind": "step", "step_size": 2, "gamma": 0.7},
    },
}


class TorchvisionEntry(ImageEntry):
    """70,000 images of 28 x 28 in the files of the MNIST format, read through torchvision."""

    num_images = 70_000
    stored_size, white = 28, 255
    defaults = CNN_DEFAULTS
    folder: ClassVar[str]
    command_name: ClassVar[str]

    train_size: Annotated[int, Field(ge=10, le=69_990, description=TRAIN_SIZE)] = 31_500
    val_size: Annotated[int, Field(ge=10, le=69_990, description=VAL_SIZE)] = 10_500
    image_size: ImageSize = 64
    pixels: Literal["0-255", "0-1"] = Field("0-255", description="Range of the pixels that the network sees.")

    @property
    def scale(self) -> float:
        return 1.0 if self.pixels == "0-255" else super().scale

    def missing(self, datasets_dir: Path) -> str | None:
        files = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        raw = datasets_dir / self.folder / "raw"
        return (
            None if all((raw / name).is_file() for name in files) else f"actrobust datasets fetch {self.command_name}"
        )

    def images(self, datasets_dir: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return read_torchvision(self.folder, datasets_dir)

    @classmethod
    def fetch(cls, datasets_dir: Path) -> None:
        """Download the files into `datasets_dir`; nothing happens where they are there already."""
        _torchvision_set(cls.folder, datasets_dir, train=True, download=True)


class Mnist(TorchvisionEntry):
    title = "MNIST"
    formula = "70,000 handwritten digits, 28 x 28 bytes; by default 31,500 train and 10,500 validate, stratified"
    source = "LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition"
    folder, command_name = "MNIST", "mnist"
    kind: Literal["mnist"] = "mnist"


class FashionMnist(TorchvisionEntry):
    title = "Fashion-MNIST"
    formula = "70,000 pictures of clothing in ten classes, 28 x 28 bytes; by default 31,500 train and 10,500 validate"
    source = "Xiao, Rasul & Vollgraf 2017, Fashion-MNIST: a novel image dataset for benchmarking"
    folder, command_name = "FashionMNIST", "fashion-mnist"
    kind: Literal["fashion_mnist"] = "fashion_mnist"


class Digits(ImageEntry):
    title = "Optical recognition of handwritten digits"
    formula = "1,797 handwritten digits, 8 x 8 pixels of 0 to 16, scaled to 0 to 1"
    source = "Alpaydin & Kaynak 1998, UCI repository; bundled with scikit-learn: nothing to download"
    num_images = 1797
    stored_size, white = 8, 16
    defaults = {
        **CNN_DEFAULTS,
        "architecture": {"kind": "mlp", "hidden": [128, 64], "batch_norm": True},
        "training": {"epochs": 20, "batch_size": 64, "loss": "cross_entropy"},
    }
    kind: Literal["digits"] = "digits"
    train_size: Annotated[int, Field(ge=10, le=1787, description=TRAIN_SIZE)] = 1347
    val_size: Annotated[int, Field(ge=10, le=1787, description=VAL_SIZE)] = 450
    image_size: ImageSize = 8

    def images(self, datasets_dir: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:  # noqa: ARG002 (bundled)
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.images.astype(np.uint8), digits.target.astype(np.int64)


def _torchvision_set(folder: str, datasets_dir: Path, *, train: bool, download: bool) -> Any:
    from shared.catalog.datasets import torchvision_sets

    return torchvision_sets.open_set(folder, datasets_dir, train=train, download=download)


@lru_cache(maxsize=1)  # 55 MB that every job of a worker would read again
def read_torchvision(folder: str, datasets_dir: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All 70,000 images and classes of a set in torchvision's layout, training files first."""
    parts = [_torchvision_set(folder, datasets_dir, train=train, download=False) for train in (True, False)]
    images = np.concatenate([part.data.numpy() for part in parts])
    classes = np.concatenate([part.targets.numpy() for part in parts]).astype(np.int64)
    return images, classes
