import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.catalog.corruptions import CORRUPTIONS, Corruption, Gaussian, Symmetric, TrainingSet, corrupt, num_corrupted
from shared.catalog.datasets import Dataset
from shared.errors import InvalidSpecError
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, make, tiny

NUM_ROWS = 200


def dataset_for(corruption: Corruption, *, num_rows: int = NUM_ROWS) -> Dataset:
    base = TINY_REGRESSION if corruption.fits("regression") else TINY_CLASSIFICATION
    entry = tiny(base, corruption=None, dataset={"train_size": num_rows}).dataset
    return entry.load(base_seed=0, seed=0, datasets_dir=Path("nowhere"))


def dirty(corruption: Corruption, rate: float, *, base_seed: int = 0, seed: int = 0) -> TrainingSet:
    return corrupt(dataset_for(corruption), corruption, rate, base_seed=base_seed, seed=seed)


def changed_rows(rows: TrainingSet, clean: Dataset) -> list[int]:
    changed = (rows.targets != clean.train_targets) | (rows.inputs != clean.train_inputs).reshape(NUM_ROWS, -1).any(1)
    changed_list: list[int] = np.flatnonzero(changed).tolist()
    return changed_list


every_corruption = pytest.mark.parametrize("kind", CORRUPTIONS)


@every_corruption
def test_rate_zero_leaves_the_data_unchanged(kind: str) -> None:
    corruption = make(CORRUPTIONS, kind)
    rows, clean = dirty(corruption, 0.0), dataset_for(corruption)
    assert np.array_equal(rows.inputs, clean.train_inputs)
    assert np.array_equal(rows.targets, clean.train_targets)
    assert rows.realised_rate == 0.0
    assert len(rows.rows) == 0


@every_corruption
@pytest.mark.parametrize("rate", [0.005, 0.05, 0.1, 0.333, 0.5, 0.8, 0.999])
def test_exactly_the_asked_share_of_rows_is_corrupted(kind: str, rate: float) -> None:
    corruption = make(CORRUPTIONS, kind)
    rows, clean = dirty(corruption, rate), dataset_for(corruption)
    assert len(rows.rows) == round(rate * NUM_ROWS) == num_corrupted(rate, NUM_ROWS)
    assert changed_rows(rows, clean) == rows.rows.tolist()
    assert rows.realised_rate == len(rows.rows) / NUM_ROWS


@every_corruption
def test_rows_of_a_low_rate_are_corrupted_alike_at_every_higher_rate(kind: str) -> None:
    sets = [dirty(make(CORRUPTIONS, kind), rate) for rate in (0.05, 0.1, 0.4, 0.8)]
    for lower, higher in itertools.pairwise(sets):
        assert set(lower.rows) < set(higher.rows)
        assert np.array_equal(lower.inputs[lower.rows], higher.inputs[lower.rows])
        assert np.array_equal(lower.targets[lower.rows], higher.targets[lower.rows])


@every_corruption
def test_dirt_does_not_depend_on_the_other_rates_of_the_experiment(kind: str) -> None:
    alone, beside_others = make(CORRUPTIONS, kind, rates=(0.1,)), make(CORRUPTIONS, kind, rates=(0.05, 0.1, 0.4))
    first, second = dirty(alone, 0.1), dirty(beside_others, 0.1)
    assert np.array_equal(first.inputs, second.inputs)
    assert np.array_equal(first.targets, second.targets)
    assert first.mask_hash == second.mask_hash


@every_corruption
def test_dirt_is_the_same_for_the_same_seeds_and_another_for_others(kind: str) -> None:
    corruption = make(CORRUPTIONS, kind)
    first, again = dirty(corruption, 0.2), dirty(corruption, 0.2)
    assert np.array_equal(first.inputs, again.inputs)
    assert np.array_equal(first.targets, again.targets)
    others = [dirty(corruption, 0.2, seed=1), dirty(corruption, 0.2, base_seed=1)]
    assert len({rows.mask_hash for rows in (first, again, *others)}) == 3


@every_corruption
def test_the_clean_rows_are_not_written_on(kind: str) -> None:
    corruption = make(CORRUPTIONS, kind)
    dataset, untouched = dataset_for(corruption), dataset_for(corruption)
    rows = corrupt(dataset, corruption, 0.9, base_seed=0, seed=0)
    for name in ("train_inputs", "train_targets", "val_inputs", "val_targets"):
        assert np.array_equal(getattr(dataset, name), getattr(untouched, name))
    assert np.array_equal(rows.true_targets, untouched.train_targets)


@every_corruption
def test_types_and_shapes_stay(kind: str) -> None:
    corruption = make(CORRUPTIONS, kind)
    rows, clean = dirty(corruption, 0.5), dataset_for(corruption)
    assert (rows.inputs.dtype, rows.inputs.shape) == (clean.train_inputs.dtype, clean.train_inputs.shape)
    assert (rows.targets.dtype, rows.targets.shape) == (clean.train_targets.dtype, clean.train_targets.shape)


@every_corruption
def test_the_hash_of_the_mask_names_the_chosen_rows(kind: str) -> None:
    hashes = {rate: dirty(make(CORRUPTIONS, kind), rate).mask_hash for rate in (0.0, 0.1, 0.2)}
    assert len(set(hashes.values())) == 3
    assert all(len(text) == 64 for text in hashes.values())


def test_the_mask_does_not_depend_on_the_kind_of_dirt() -> None:
    dataset = dataset_for(Gaussian())
    kinds = [Gaussian(), Gaussian(sd=3.0), Gaussian(on="target")]
    assert len({corrupt(dataset, kind, 0.3, base_seed=0, seed=0).mask_hash for kind in kinds}) == 1


def test_gaussian_noise_hits_only_what_it_is_told_to() -> None:
    clean = dataset_for(Gaussian())
    both, inputs, target = (dirty(Gaussian(on=on), 0.3) for on in ("inputs_and_target", "inputs", "target"))
    assert np.array_equal(inputs.targets, clean.train_targets)
    assert np.array_equal(target.inputs, clean.train_inputs)
    assert np.array_equal(inputs.inputs, both.inputs), "noise on one side is the noise of both, less the other's"
    assert np.array_equal(target.targets, both.targets)
    assert (both.inputs[both.rows] != clean.train_inputs[both.rows]).all(), "every input of a dirty row is noisy"
    assert (both.targets[both.rows] != clean.train_targets[both.rows]).all()


@pytest.mark.parametrize("sd", [0.5, 2.0])
def test_gaussian_noise_is_normal_with_its_standard_deviation(sd: float) -> None:
    dataset = dataset_for(Gaussian(), num_rows=4000)
    rows = corrupt(dataset, Gaussian(sd=sd), 0.9, base_seed=0, seed=0)
    noise_on_inputs = (rows.inputs - dataset.train_inputs)[rows.rows]
    noise_on_targets = (rows.targets - dataset.train_targets)[rows.rows]
    for noise in (noise_on_inputs.ravel(), noise_on_targets):
        assert stats.kstest(noise, stats.norm(0, sd).cdf).pvalue > 0.001
    correlations = np.corrcoef(np.column_stack([noise_on_inputs, noise_on_targets]).T)
    assert np.abs(correlations - np.eye(len(correlations))).max() < 0.1, "columns and target get noise of their own"


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), rate=st.floats(0.01, 0.99))
def test_exclusive_label_noise_always_gives_another_class(seed: int, rate: float) -> None:
    rows = dirty(Symmetric(exclusive=True), rate, seed=seed)
    assert (rows.targets[rows.rows] != rows.true_targets[rows.rows]).all()
    assert set(rows.targets) <= set(range(10))


def test_label_noise_is_uniform_over_the_other_classes() -> None:
    dataset = dataset_for(Symmetric(), num_rows=1600)
    rows = corrupt(dataset, Symmetric(), 0.95, base_seed=0, seed=0)
    offsets = (rows.targets - rows.true_targets)[rows.rows] % 10
    assert stats.chisquare(np.bincount(offsets, minlength=10)[1:]).pvalue > 0.001


def test_inclusive_label_noise_keeps_about_a_tenth_of_the_labels() -> None:
    dataset = dataset_for(Symmetric(), num_rows=1600)
    rows = corrupt(dataset, Symmetric(exclusive=False), 0.5, base_seed=0, seed=0)
    assert len(rows.rows) == 800
    kept = (rows.targets == rows.true_targets)[rows.rows].mean()
    assert 0.06 < kept < 0.14
    assert rows.realised_rate == (rows.targets != rows.true_targets).mean() < 0.5


def test_label_noise_leaves_the_images_alone() -> None:
    dataset = dataset_for(Symmetric())
    assert corrupt(dataset, Symmetric(), 0.5, base_seed=0, seed=0).inputs is dataset.train_inputs


@every_corruption
def test_dirt_that_does_not_fit_the_task_is_refused(kind: str) -> None:
    corruption: dict[str, Any] = {"kind": kind}
    for base, task in ((TINY_REGRESSION, "regression"), (TINY_CLASSIFICATION, "classification")):
        document = {**base, "corruption": corruption}
        if make(CORRUPTIONS, kind).fits(task):  # type: ignore[arg-type]
            assert tiny(document).corruption.kind == kind
        else:
            with pytest.raises(InvalidSpecError, match=f"does not fit a {task}"):
                tiny(document)
