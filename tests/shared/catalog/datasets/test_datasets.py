from pathlib import Path

import numpy as np
import pytest

from shared.catalog.datasets import DATASETS, DatasetEntry
from shared.spec import resolve
from tests.shared.specs import make

# What needs no file is loaded here; sets on disk have tests of their own.
AT_HAND = [kind for kind, entry in DATASETS.items() if entry().missing(Path("nowhere")) is None]  # type: ignore[call-arg]


def tiny_entry(kind: str) -> DatasetEntry:
    return make(DATASETS, kind, train_size=40, val_size=25)


@pytest.mark.parametrize("kind", AT_HAND)
def test_loaded_arrays_are_what_the_entry_promises(kind: str) -> None:
    entry = tiny_entry(kind)
    dataset = entry.load(base_seed=0, seed=0, datasets_dir=Path("nowhere"))
    assert len(dataset.train_inputs) == len(dataset.train_targets) == 40
    assert len(dataset.val_inputs) == len(dataset.val_targets) == 25
    assert dataset.input_shape == entry.input_shape
    assert dataset.num_classes == entry.num_classes
    assert dataset.num_outputs == (entry.num_classes or 1)
    if entry.task == "classification":
        assert dataset.train_targets.dtype == dataset.val_targets.dtype == np.int64
        assert set(dataset.train_targets) | set(dataset.val_targets) <= set(range(entry.num_classes or 0))
    else:
        assert dataset.train_targets.dtype == np.float64
        assert entry.num_classes is None


@pytest.mark.parametrize("kind", AT_HAND)
def test_validation_shares_no_row_with_training(kind: str) -> None:
    dataset = tiny_entry(kind).load(base_seed=0, seed=0, datasets_dir=Path("nowhere"))
    training = {row.tobytes() for row in dataset.train_inputs}
    assert not training & {row.tobytes() for row in dataset.val_inputs}


@pytest.mark.parametrize("kind", AT_HAND)
def test_a_seed_always_loads_the_same_rows(kind: str) -> None:
    first, again = (tiny_entry(kind).load(base_seed=2, seed=1, datasets_dir=Path("nowhere")) for _ in range(2))
    for name in ("train_inputs", "train_targets", "val_inputs", "val_targets"):
        assert np.array_equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize("kind", DATASETS)
def test_a_spec_that_names_nothing_but_its_data_set_is_complete(kind: str) -> None:
    spec = resolve({"dataset": {"kind": kind}})
    assert spec.dataset.kind == spec.name == kind
    assert spec.metric == ("accuracy" if spec.dataset.task == "classification" else "loss")
    assert len(spec.activations) == 7
