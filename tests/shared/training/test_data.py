from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from shared.catalog.datasets import ImageTransform
from shared.spec import ExperimentSpec
from shared.training.data import MemberData, Preparation, batch_bounds, bilinear_matrix, load_members
from shared.training.population import Member
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny
from tests.shared.training.populations import all_members

CPU = torch.device("cpu")


def load(spec: ExperimentSpec, members: list[Member] | None = None) -> dict[Member, MemberData]:
    chosen = members or all_members(spec)
    data = load_members(spec, chosen, datasets_dir=Path("nowhere"), device=CPU)
    return dict(zip(chosen, data, strict=True))


@settings(deadline=None, max_examples=200)
@given(num_rows=st.integers(1, 500), batch_size=st.integers(1, 100))
def test_batches_hold_every_row_once_and_none_is_a_single_row(num_rows: int, batch_size: int) -> None:
    bounds = batch_bounds(num_rows, batch_size)
    assert [row for first, end in bounds for row in range(first, end)] == list(range(num_rows))
    sizes = [end - first for first, end in bounds]
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    if batch_size > 1 and num_rows > 1:
        assert min(sizes) > 1


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "bounds"),
    [
        (6, 3, [(0, 3), (3, 6)]),
        (7, 3, [(0, 3), (3, 7)]),
        (8, 3, [(0, 3), (3, 6), (6, 8)]),
        (2, 3, [(0, 2)]),
        (4, 3, [(0, 4)]),
        (3, 1, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_a_last_batch_of_one_row_joins_the_one_before_it(
    num_rows: int, batch_size: int, bounds: list[tuple[int, int]]
) -> None:
    assert batch_bounds(num_rows, batch_size) == bounds


@pytest.mark.parametrize(("size_in", "size_out"), [(8, 28), (28, 64), (28, 32), (28, 14), (8, 5), (9, 9)])
def test_resizing_by_two_products_is_torchs_bilinear_interpolation(size_in: int, size_out: int) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, size_in, size_in))).double()
    matrix = bilinear_matrix(size_in, size_out)
    expected = interpolate(images.unsqueeze(1), size=(size_out, size_out), mode="bilinear").squeeze(1)
    torch.testing.assert_close(matrix @ images @ matrix.T, expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("size", [8, 20])
def test_stored_bytes_become_scaled_images_of_the_asked_size(size: int) -> None:
    stored = torch.from_numpy(np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(np.uint8))
    prepare = Preparation(ImageTransform(size, 1 / 16), stored_size=8, dtype=torch.float64, device=CPU)
    inputs = prepare(stored)
    assert inputs.shape == (5, 1, size, size)
    expected = interpolate(stored.double().unsqueeze(1) / 16, size=(size, size), mode="bilinear")
    torch.testing.assert_close(inputs, expected)


@pytest.mark.parametrize("size", [8, 20])
def test_an_offset_is_added_to_the_scaled_bytes(size: int) -> None:
    stored = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 8, 8)).astype(np.uint8))
    prepare = Preparation(ImageTransform(size, 2 / 255, -1.0), stored_size=8, dtype=torch.float64, device=CPU)
    expected = interpolate(stored.double().unsqueeze(1) * (2 / 255) - 1, size=(size, size), mode="bilinear")
    torch.testing.assert_close(prepare(stored), expected)


def test_features_are_cast_and_nothing_else() -> None:
    rows = torch.randn(4, 3, dtype=torch.float64)
    prepare = Preparation(None, stored_size=3, dtype=torch.float32, device=CPU)
    assert torch.equal(prepare(rows), rows.float())


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rows_are_held_in_the_precision_that_was_asked_for(precision: str) -> None:
    data = load(tiny(training={"precision": precision}))[Member(0.0, 0)]
    assert data.train_inputs.dtype == data.train_targets.dtype == data.val_targets.dtype == getattr(torch, precision)


def test_images_are_held_as_bytes() -> None:
    data = load(tiny(TINY_CLASSIFICATION))[Member(0.2, 0)]
    assert data.train_inputs.dtype == torch.uint8
    assert data.train_targets.dtype == torch.int64


def test_members_share_in_memory_what_does_not_differ() -> None:
    labels = load(tiny(TINY_CLASSIFICATION, corruption={"rates": [0.2, 0.4]}))
    assert len({data.train_inputs.data_ptr() for data in labels.values()}) == 1, "one split, labels differ only"
    assert len({data.val_inputs.data_ptr() for data in labels.values()}) == 1
    fresh = load(tiny(TINY_REGRESSION))
    assert len({data.val_inputs.data_ptr() for data in fresh.values()}) == 2, "one for each of two seeds"


@pytest.mark.parametrize("base", [TINY_REGRESSION, TINY_CLASSIFICATION], ids=["regression", "classification"])
def test_every_condition_of_a_seed_is_validated_on_the_same_clean_rows(base: dict[str, object]) -> None:
    spec = tiny(base, corruption={"rates": [0.1, 0.5]})
    data = load(spec)
    for seed in range(2):
        clean = spec.dataset.load(base_seed=0, seed=seed, datasets_dir=Path("nowhere"))
        for rate in spec.rates:
            member = data[Member(rate, seed)]
            np.testing.assert_allclose(member.val_inputs.double(), clean.val_inputs, rtol=1e-6)
            np.testing.assert_allclose(member.val_targets.double(), clean.val_targets, rtol=1e-5, atol=1e-7)


def test_the_facts_of_a_member_tell_its_dirt_and_its_null_scores() -> None:
    spec = tiny(TINY_CLASSIFICATION)
    data = load(spec)
    clean, dirty = data[Member(0.0, 0)].facts, data[Member(0.2, 0)].facts
    assert (clean.realised_rate, dirty.realised_rate) == (0.0, 0.2)
    assert clean.mask_hash != dirty.mask_hash
    labels = data[Member(0.0, 0)].val_targets.numpy()
    shares = np.bincount(labels) / len(labels)
    assert clean.null_accuracy == pytest.approx(shares.max())
    assert clean.null_loss == pytest.approx(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    assert load(tiny())[Member(0.0, 0)].facts.null_accuracy is None


def test_facts_do_not_depend_on_the_activation() -> None:
    specs = [tiny(activations=[kind]) for kind in ("relu", "tanh")]
    facts = [{member: data.facts for member, data in load(spec).items()} for spec in specs]
    assert facts[0] == facts[1]


def test_corrupted_rows_are_those_whose_target_changed() -> None:
    data = load(tiny(TINY_CLASSIFICATION))[Member(0.2, 1)]
    assert data.corrupted is not None
    assert len(data.corrupted.targets) == 12
    assert (data.corrupted.targets != data.corrupted.true_targets).all()
    assert load(tiny(TINY_CLASSIFICATION))[Member(0.0, 1)].corrupted is None


def test_rows_whose_inputs_alone_are_noisy_have_no_wrong_target() -> None:
    assert load(tiny(corruption={"on": "inputs"}))[Member(0.2, 0)].corrupted is None


def test_inclusive_noise_that_drew_the_true_class_is_no_corrupted_row() -> None:
    spec = tiny(TINY_CLASSIFICATION, corruption={"exclusive": False, "rates": [0.9]})
    member = load(spec)[Member(0.9, 0)]
    assert member.corrupted is not None
    assert len(member.corrupted.targets) == round(member.facts.realised_rate * 60) < 54
