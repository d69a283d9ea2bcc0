from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from shared.catalog.datasets import DATASETS, Dataset, fetch
from shared.catalog.datasets.images import Digits, ImageEntry, Mnist, TorchvisionEntry
from shared.errors import NotFoundError
from tests.shared.specs import make

NOWHERE = Path("nowhere")

every_downloaded_set = pytest.mark.parametrize(
    "kind", [kind for kind, entry in DATASETS.items() if issubclass(entry, TorchvisionEntry)]
)


def row_set(rows: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in rows}


def digits(*, base_seed: int = 0, seed: int = 0, train_size: int = 1347, val_size: int = 450) -> Dataset:
    entry = Digits(train_size=train_size, val_size=val_size)
    return entry.load(base_seed=base_seed, seed=seed, datasets_dir=NOWHERE)


def test_digits_come_without_a_download() -> None:
    assert Digits().missing(NOWHERE) is None
    dataset = digits()
    assert dataset.train_inputs.shape == (1347, 8, 8)
    assert dataset.val_inputs.shape == (450, 8, 8)
    assert dataset.train_inputs.dtype == np.uint8
    assert dataset.train_targets.dtype == np.int64
    assert dataset.num_classes == 10
    assert dataset.input_shape == (1, 8, 8)


def test_digits_are_those_of_scikit_learn_each_in_one_half() -> None:
    dataset, bundled = digits(), load_digits()
    split = np.concatenate([dataset.train_inputs, dataset.val_inputs]).astype(float)
    labels = np.concatenate([dataset.train_targets, dataset.val_targets])

    def sort(images: np.ndarray, classes: np.ndarray) -> list[tuple[float, ...]]:
        return sorted((*image.ravel().tolist(), label) for image, label in zip(images, classes.tolist(), strict=True))

    assert sort(split, labels) == sort(bundled.images, bundled.target)


def test_pixels_of_digits_become_0_to_1() -> None:
    assert digits().train_inputs.max() * Digits().scale == 1.0


def test_the_split_is_stratified() -> None:
    dataset = digits(train_size=1000, val_size=500)
    overall = np.bincount(load_digits().target) / 1797
    for labels in (dataset.train_targets, dataset.val_targets):
        assert np.abs(np.bincount(labels) / len(labels) - overall).max() < 0.002


def test_the_split_is_the_same_for_all_seeds_and_another_for_another_base_seed() -> None:
    assert not Digits.fresh_for_each_seed
    first, same, other = digits(), digits(seed=7), digits(base_seed=1)
    assert np.array_equal(first.train_inputs, same.train_inputs)
    assert np.array_equal(first.val_targets, same.val_targets)
    assert not np.array_equal(first.train_inputs, other.train_inputs)


def test_a_split_of_its_own_for_each_seed_can_be_asked_for() -> None:
    def load(seed: int, split: str) -> Dataset:
        return make(DATASETS, "digits", split=split).load(base_seed=0, seed=seed, datasets_dir=NOWHERE)

    first, same, other = load(0, "per_seed"), load(0, "per_seed"), load(1, "per_seed")
    assert np.array_equal(first.train_inputs, same.train_inputs)
    assert not np.array_equal(first.train_inputs, other.train_inputs)
    for dataset in (first, other):
        assert not row_set(dataset.train_inputs) & row_set(dataset.val_inputs)
        shares = [np.bincount(labels) / len(labels) for labels in (dataset.train_targets, dataset.val_targets)]
        assert np.abs(shares[0] - shares[1]).max() < 0.003


def test_a_data_set_says_what_intervals_over_its_seeds_describe() -> None:
    scopes = {split: make(DATASETS, "digits", split=split).inference_scope for split in ("fixed", "per_seed")}
    assert scopes == {"fixed": "fixed_split", "per_seed": "resampled_split"}
    assert make(DATASETS, "fbm").inference_scope == "fresh_data"
    assert make(DATASETS, "digits").seed_of_data(3) == make(DATASETS, "digits").seed_of_data(4)
    assert make(DATASETS, "digits", split="per_seed").seed_of_data(3) == 3


def test_validation_rows_are_in_random_order() -> None:
    """Their first half is the selection half: it must look like the other."""
    labels = digits().val_targets
    halves = [np.bincount(half, minlength=10) for half in np.array_split(labels, 2)]
    assert np.abs(halves[0] - halves[1]).max() < 25


@every_downloaded_set
def test_a_set_that_is_not_on_disk_names_the_command_that_fetches_it(kind: str, tmp_path: Path) -> None:
    command = make(DATASETS, kind).missing(tmp_path)
    assert command == f"actrobust datasets fetch {kind.replace('_', '-')}"


@every_downloaded_set
def test_a_set_of_which_one_file_is_missing_is_missing(kind: str, tmp_path: Path) -> None:
    entry = make(DATASETS, kind)
    assert isinstance(entry, TorchvisionEntry)
    raw = tmp_path / entry.folder / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        assert entry.missing(tmp_path)
        for what in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            assert entry.missing(tmp_path)
            (raw / f"{part}-{what}").touch()
    assert entry.missing(tmp_path) is None


@pytest.mark.parametrize("name", ["mnits", "digits", "fbm", "../mnist", ""])
def test_an_unknown_name_cannot_be_fetched(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"'mnist'|'fashion-mnist'"):
        fetch(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [kind for kind, entry in DATASETS.items() if issubclass(entry, ImageEntry)])
def test_more_images_than_there_are_cannot_be_asked_for(kind: str) -> None:
    entry = DATASETS[kind]
    assert issubclass(entry, ImageEntry)
    half = entry.num_images // 2
    make(DATASETS, kind, train_size=half, val_size=entry.num_images - half)
    with pytest.raises(ValueError, match=f"at most {entry.num_images} images"):
        make(DATASETS, kind, train_size=half, val_size=entry.num_images - half + 1)


@pytest.mark.parametrize(("pixels", "scale"), [("0-255", 1.0), ("0-1", 1 / 255)])
def test_pixels_of_mnist_stay_bytes_unless_asked_otherwise(pixels: str, scale: float) -> None:
    entry = make(DATASETS, "mnist", pixels=pixels)
    assert isinstance(entry, Mnist)
    assert entry.scale == scale


@pytest.mark.mnist
def test_mnist_is_split_as_in_the_study(datasets_dir: Path) -> None:
    assert Mnist().missing(datasets_dir) is None
    dataset = Mnist().load(base_seed=0, seed=0, datasets_dir=datasets_dir)
    assert dataset.train_inputs.shape == (31_500, 28, 28)
    assert dataset.val_inputs.shape == (10_500, 28, 28)
    assert dataset.train_inputs.dtype == np.uint8
    assert dataset.train_inputs.max() == 255
    assert dataset.input_shape == (1, 64, 64)
    images = np.concatenate([dataset.train_inputs, dataset.val_inputs])
    assert len(row_set(images)) == 42_000, "no image occurs twice in MNIST, so none is in both halves"
    shares = [
        np.bincount(labels, minlength=10) / len(labels) for labels in (dataset.train_targets, dataset.val_targets)
    ]
    assert np.abs(shares[0] - shares[1]).max() < 2e-4


@pytest.mark.mnist
def test_the_split_of_mnist_depends_on_the_base_seed_alone(datasets_dir: Path) -> None:
    first = Mnist().load(base_seed=0, seed=0, datasets_dir=datasets_dir)
    same = Mnist().load(base_seed=0, seed=5, datasets_dir=datasets_dir)
    other = Mnist().load(base_seed=1, seed=0, datasets_dir=datasets_dir)
    assert np.array_equal(first.train_inputs, same.train_inputs)
    assert np.array_equal(first.val_inputs, same.val_inputs)
    assert np.array_equal(first.val_targets, same.val_targets)
    assert not np.array_equal(first.val_targets, other.val_targets)


@pytest.mark.mnist
def test_all_70000_images_of_mnist_can_be_used(datasets_dir: Path) -> None:
    dataset = Mnist(train_size=60_000, val_size=10_000).load(base_seed=0, seed=0, datasets_dir=datasets_dir)
    assert len(row_set(np.concatenate([dataset.train_inputs, dataset.val_inputs]))) == 70_000
