from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.catalog.corruptions import Gaussian, corrupt
from shared.catalog.datasets import Dataset
from shared.catalog.datasets.fbm import FUNCTIONS, Fbm
from shared.seeds import numpy_stream

Array = NDArray[np.float64]


def load(entry: Fbm | None = None, *, base_seed: int = 0, seed: int = 0) -> Dataset:
    return (entry or Fbm()).load(base_seed=base_seed, seed=seed, datasets_dir=Path("nowhere"))


def all_rows(dataset: Dataset) -> tuple[Array, Array]:
    return (
        np.concatenate([dataset.train_inputs, dataset.val_inputs]),
        np.concatenate([dataset.train_targets, dataset.val_targets]),
    )


def raw_columns(inputs: Array) -> Array:
    """The domain's values behind standardised inputs: their ranks, a quarter apart, centred on 0."""
    ranks = inputs.argsort(axis=0).argsort(axis=0).astype(np.float64)
    return (ranks - len(inputs) / 2) * 0.25


def test_the_studys_defaults_are_5000_training_and_2000_validation_rows_of_ten_columns() -> None:
    dataset = load()
    assert dataset.train_inputs.shape == (5000, 10)
    assert dataset.val_inputs.shape == (2000, 10)
    assert dataset.train_targets.shape == (5000,)
    assert dataset.val_targets.shape == (2000,)
    assert dataset.num_classes is None
    assert dataset.num_outputs == 1
    assert dataset.input_shape == Fbm().input_shape == (10,)


def test_every_column_is_the_studys_7000_values_shuffled_and_standardised() -> None:
    inputs, _ = all_rows(load())
    domain = np.arange(-875, 875, 0.25)
    standardised = (domain - domain.mean()) / domain.std()
    for column in inputs.T:
        np.testing.assert_allclose(np.sort(column), standardised, rtol=0, atol=1e-12)
    assert np.abs(inputs.mean(axis=0)).max() < 1e-12
    np.testing.assert_allclose(inputs.std(axis=0), 1.0)


def test_columns_are_shuffled_independently() -> None:
    inputs, _ = all_rows(load())
    correlations = np.corrcoef(inputs.T)
    assert np.abs(correlations - np.eye(10)).max() < 0.06


@pytest.mark.parametrize("seed", range(4))
def test_the_target_has_a_variance_of_about_a_tenth(seed: int) -> None:
    _, targets = all_rows(load(seed=seed))
    assert abs(targets.mean()) < 1e-12
    assert 0.09 < targets.var() < 0.11


def test_the_target_is_the_row_mean_of_standardised_functions_of_the_columns() -> None:
    """The five functions and eleven constants written anew from the study."""
    for seed in range(3):
        inputs, targets = all_rows(load(seed=seed))
        x = raw_columns(inputs)
        c = numpy_stream(0, seed, "fbm_constants").uniform(-1, 1, 11)
        repeated = numpy_stream(0, seed, "fbm_columns").integers(0, 5, 5)

        functions: tuple[Array, ...] = (
            c[0] * np.sin(x),
            c[1] * np.cos(x),
            c[2] * x + c[3],
            c[4] * x**2 + c[5] * x + c[6],
            c[7] * x**3 + c[8] * x**2 + c[9] * x + c[10],
        )
        columns = [functions[index][:, k] for k, index in enumerate([0, 1, 2, 3, 4, *repeated])]
        expected = np.mean([(column - column.mean()) / column.std() for column in columns], axis=0)
        np.testing.assert_allclose(targets, expected, rtol=0, atol=1e-9)


def test_the_frequency_rescales_the_argument_of_the_functions_and_nothing_else() -> None:
    frequency = np.pi / 875
    inputs, targets = all_rows(load(Fbm(num_columns=5, frequency=frequency), seed=2))
    assert np.array_equal(inputs, all_rows(load(Fbm(num_columns=5), seed=2))[0])
    x = raw_columns(inputs) * frequency
    assert (x.min(), x.max()) == pytest.approx((-np.pi, np.pi), abs=0.001)
    c = numpy_stream(0, 2, "fbm_constants").uniform(-1, 1, 11)
    columns = [function(x[:, k], c) for k, function in enumerate(FUNCTIONS)]
    expected = np.mean([(column - column.mean()) / column.std() for column in columns], axis=0)
    np.testing.assert_allclose(targets, expected, rtol=0, atol=1e-9)


def test_at_a_low_frequency_the_target_can_be_learned_from_low_powers_of_the_inputs() -> None:
    def unexplained(frequency: float) -> float:
        inputs, targets = all_rows(load(Fbm(frequency=frequency)))
        design = np.column_stack([inputs**power for power in range(7)])
        residual = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
        return float(residual.var() / targets.var())

    assert unexplained(1.0) > 0.15, "sin and cos run through 280 cycles"
    assert unexplained(np.pi / 875) < 0.001


# --- as the notebooks ran it


def as_run(seed: int = 0) -> Dataset:
    return load(Fbm(dirty_split="independent"), seed=seed)


def test_an_independent_dirty_split_leaves_the_clean_rows_as_they_are() -> None:
    for name in ("train_inputs", "train_targets", "val_inputs", "val_targets"):
        assert np.array_equal(getattr(as_run(), name), getattr(load(), name))
    assert load().dirty_train is None
    assert load().under_dirt().train_inputs.shape == (5000, 10)


def test_five_sevenths_of_the_validation_rows_sit_in_the_dirty_training_set() -> None:
    dataset = as_run()
    under_dirt = dataset.under_dirt()
    assert under_dirt.train_inputs.shape == (5000, 10)
    dirty_rows = {row.tobytes() for row in under_dirt.train_inputs}
    assert len(dirty_rows) == 5000
    shared = np.mean([row.tobytes() in dirty_rows for row in dataset.val_inputs])
    assert abs(shared - 5 / 7) < 4 * np.sqrt(5 / 7 * 2 / 7 / 2000)


def test_nine_in_ten_of_the_validation_rows_in_it_are_unaltered() -> None:
    dataset = as_run()
    rows = corrupt(dataset, Gaussian(), 0.1, base_seed=0, seed=0)
    assert len(rows.rows) == 500
    assert rows.realised_rate == 0.1
    unaltered = {row.tobytes() for row in rows.inputs}
    shared = np.mean([row.tobytes() in unaltered for row in dataset.val_inputs])
    assert abs(shared - 0.9 * 5 / 7) < 0.05
    assert np.array_equal(rows.true_targets, dataset.under_dirt().train_targets)
    assert corrupt(dataset, Gaussian(), 0.0, base_seed=0, seed=0).inputs is dataset.train_inputs


def test_repeated_columns_share_the_constants_of_their_function() -> None:
    """Of twenty columns, those of one function have the same effect on the target: the same curve of it."""
    entry = Fbm(num_columns=20, train_size=40_000, val_size=10)
    inputs, targets = all_rows(load(entry))
    x = raw_columns(inputs)
    repeated = numpy_stream(0, 0, "fbm_columns").integers(0, len(FUNCTIONS), 15)
    functions = np.array([0, 1, 2, 3, 4, *repeated])
    assert set(functions[5:]) == {0, 1, 2, 3, 4}, "each function occurs again"
    polynomials = np.isin(functions, (2, 3, 4))
    design = np.concatenate([x[:, polynomials] ** power for power in (1, 2, 3)], axis=1)
    design = design / design.std(axis=0)
    effects = np.linalg.lstsq(np.column_stack([design, np.ones(len(x))]), targets, rcond=None)[0][:-1].reshape(3, -1)
    for function in (2, 3, 4):
        own = effects[:, functions[polynomials] == function]
        np.testing.assert_allclose(own, own[:, :1].repeat(own.shape[1], axis=1), atol=0.03)


def test_functions_constants_and_shuffles_are_fresh_for_each_seed() -> None:
    assert Fbm.fresh_for_each_seed
    datasets = [load(), load(seed=1), load(base_seed=1)]
    for first, second in [(0, 1), (0, 2), (1, 2)]:
        assert not np.array_equal(datasets[first].train_inputs, datasets[second].train_inputs)
        assert not np.array_equal(np.sort(datasets[first].train_targets), np.sort(datasets[second].train_targets))


def test_the_same_seed_gives_the_same_rows() -> None:
    first, second = all_rows(load(seed=3)), all_rows(load(seed=3))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_training_and_validation_share_no_row() -> None:
    dataset = load()
    training = {row.tobytes() for row in dataset.train_inputs}
    assert not any(row.tobytes() in training for row in dataset.val_inputs)


@pytest.mark.parametrize(("train_size", "val_size", "num_columns"), [(10, 10, 1), (13, 10, 3), (50, 17, 7)])
def test_other_sizes_are_as_asked_for(train_size: int, val_size: int, num_columns: int) -> None:
    entry = Fbm(train_size=train_size, val_size=val_size, num_columns=num_columns)
    dataset = load(entry)
    assert dataset.train_inputs.shape == (train_size, num_columns)
    assert dataset.val_inputs.shape == (val_size, num_columns)
    inputs, targets = all_rows(dataset)
    assert np.isfinite(inputs).all()
    assert np.isfinite(targets).all()
    assert entry.example_bytes * train_size == dataset.train_inputs.nbytes + dataset.train_targets.nbytes
