from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shared.catalog.corruptions import CORRUPTIONS, Symmetric, corrupt
from shared.catalog.corruptions.labels import Asymmetric, Instance, LabelNoise, PairFlip
from shared.catalog.presets import PRESETS
from shared.errors import FieldProblem, InvalidSpecError
from shared.spec import resolve
from tests.shared.catalog.corruptions.support import dataset_for, dirty
from tests.shared.specs import TINY_CLASSIFICATION, make, tiny

MANY = 1600
every_label_noise = pytest.mark.parametrize(
    "kind", [kind for kind, cls in CORRUPTIONS.items() if issubclass(cls, LabelNoise)]
)


@every_label_noise
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), rate=st.floats(0.01, 0.99))
def test_label_noise_always_gives_another_class_unless_it_says_otherwise(kind: str, seed: int, rate: float) -> None:
    rows = dirty(make(CORRUPTIONS, kind), rate, seed=seed)
    assert (rows.targets[rows.rows] != rows.true_targets[rows.rows]).all()
    assert set(rows.targets) <= set(range(10))


@every_label_noise
def test_label_noise_leaves_the_images_alone(kind: str) -> None:
    dataset = dataset_for(Symmetric())
    assert corrupt(dataset, make(CORRUPTIONS, kind), 0.5, base_seed=0, seed=0).inputs is dataset.train_inputs


# --- symmetric


@pytest.mark.parametrize("exact", [True, False])
def test_symmetric_noise_is_uniform_over_the_other_classes(exact: bool) -> None:
    rows = dirty(Symmetric(exact=exact), 0.95, num_rows=MANY)
    offsets = (rows.targets - rows.true_targets)[rows.rows] % 10
    assert stats.chisquare(np.bincount(offsets, minlength=10)[1:]).pvalue > 0.001


def test_inclusive_noise_keeps_about_a_tenth_of_the_labels() -> None:
    rows = dirty(Symmetric(exclusive=False), 0.5, num_rows=MANY)
    assert len(rows.rows) == 800
    kept = (rows.targets == rows.true_targets)[rows.rows].mean()
    assert 0.06 < kept < 0.14
    assert rows.realised_rate == (rows.targets != rows.true_targets).mean() < 0.5


def test_without_exact_each_row_is_corrupted_by_itself() -> None:
    counts = np.array([len(dirty(Symmetric(exact=False), 0.1, seed=seed).rows) for seed in range(400)])
    mean, variance = 200 * 0.1, 200 * 0.1 * 0.9
    assert abs(counts.mean() - mean) < 4 * np.sqrt(variance / 400)
    assert 0.8 * variance < counts.var() < 1.25 * variance


def test_concentrated_noise_hits_the_nearest_rows_of_one_row() -> None:
    rows, clean = dirty(Symmetric(concentrated=True), 0.2, num_rows=MANY), dataset_for(Symmetric(), num_rows=MANY)
    inputs = clean.train_inputs.reshape(MANY, -1).astype(float)

    def is_ball(centre: int) -> bool:
        distances = np.square(inputs - inputs[centre]).sum(axis=1)
        hit = np.zeros(MANY, dtype=bool)
        hit[rows.rows] = True
        return bool(distances[hit].max() <= distances[~hit].min())

    assert any(is_ball(centre) for centre in rows.rows)
    spread = dirty(Symmetric(), 0.2, num_rows=MANY)
    classes = [np.bincount(some.true_targets[some.rows], minlength=10).max() for some in (rows, spread)]
    assert classes[0] > 2 * classes[1], "neighbours are of few classes"


# --- pairs, maps


def test_pair_flips_lead_to_the_next_class() -> None:
    rows = dirty(PairFlip(), 0.6)
    assert np.array_equal(rows.targets[rows.rows], (rows.true_targets[rows.rows] + 1) % 10)


def test_asymmetric_noise_follows_its_map_at_the_rate_within_the_named_classes() -> None:
    rows = dirty(Asymmetric(), 0.4, num_rows=MANY)
    flips = {7: 1, 2: 7, 3: 8, 5: 6, 6: 5}
    named = np.isin(rows.true_targets, list(flips))
    assert len(rows.rows) == round(0.4 * named.sum())
    assert [flips[true] for true in rows.true_targets[rows.rows]] == rows.targets[rows.rows].tolist()
    for true in flips:
        share = (rows.targets != rows.true_targets)[rows.true_targets == true].mean()
        assert abs(share - 0.4) < 4 * np.sqrt(0.4 * 0.6 / (rows.true_targets == true).sum())
    assert abs(rows.realised_rate - 0.4 * named.mean()) < 1 / MANY


def test_a_map_of_classes_may_be_given_as_lists_and_comes_back_the_same() -> None:
    spec = tiny(TINY_CLASSIFICATION, corruption={"kind": "asymmetric", "class_map": [[0, 1], [9, 4]]})
    assert spec.model_dump(mode="json")["corruption"]["class_map"] == [[0, 1], [9, 4]]
    assert resolve(spec.model_dump(mode="json")) == spec


def problems_of(corruption: dict[str, Any], **changes: Any) -> list[FieldProblem]:
    with pytest.raises(InvalidSpecError) as caught:
        tiny(TINY_CLASSIFICATION, corruption=corruption, **changes)
    return caught.value.problems


@pytest.mark.parametrize(
    ("class_map", "pointer"),
    [
        ([[1, 1]], "/corruption/class_map"),
        ([[1, 2], [1, 3]], "/corruption/class_map"),
        ([[1, 10]], "/corruption/class_map"),
        ([[10, 1]], "/corruption/class_map"),
        ([], "/corruption/class_map"),
        ({"1": 2}, "/corruption/class_map"),
        ([[1]], "/corruption/class_map/0/1"),
        ([[1, -2]], "/corruption/class_map/0/1"),
        ([[1, "2"]], "/corruption/class_map/0/1"),
        ([[1, 2, 3]], "/corruption/class_map/0"),
    ],
    ids=str,
)
def test_what_is_no_map_of_the_classes_is_refused(class_map: Any, pointer: str) -> None:
    (problem,) = problems_of({"kind": "asymmetric", "class_map": class_map})
    assert problem.pointer == pointer


def test_the_default_map_is_for_digits_only() -> None:
    document: dict[str, Any] = {"dataset": {"kind": "fashion_mnist"}, "corruption": {"kind": "asymmetric"}}
    with pytest.raises(InvalidSpecError, match="the default is for digits") as caught:
        resolve(document)
    assert caught.value.problems[0].pointer == "/corruption/class_map"
    document["corruption"]["class_map"] = [[0, 6], [2, 4]]
    assert resolve(resolve(document).model_dump(mode="json")) == resolve(document)


def test_concentrated_noise_takes_exact_numbers_only() -> None:
    (problem,) = problems_of({"kind": "symmetric", "concentrated": True, "exact": False})
    assert problem.pointer == "/corruption"


# --- depending on the instance


def test_instance_noise_repeats_itself_for_equal_images_far_more_often_than_chance() -> None:
    """The wrong class is a function of the image, up to the softmax's noise."""
    corruption = Instance()
    dataset = dataset_for(corruption, num_rows=MANY)
    generators = (np.random.default_rng(seed) for seed in (0, 0, 1))
    first, same, other = (corruption.labels(dataset, generator) for generator in generators)
    assert np.array_equal(first, same)
    assert (first == other).mean() < 0.3, "other weights confuse other classes"
    images = dataset.train_inputs.reshape(MANY, -1).astype(float)
    agree = []
    for i in range(300):
        alike = np.flatnonzero(dataset.train_targets == dataset.train_targets[i])
        nearest = alike[np.square(images[alike] - images[i]).sum(axis=1).argsort()[1]]
        agree.append(first[nearest] == first[i])
    assert np.mean(agree) > 0.3, "chance is 1 in 9"


def test_instance_noise_is_the_papers_softmax_without_the_true_class() -> None:
    """One image many times over, against the probabilities written anew."""
    corruption = Instance()
    dataset = dataset_for(corruption)
    image, true = dataset.train_inputs[0], int(dataset.train_targets[0])
    copies = 20_000
    many = type(dataset)(
        np.repeat(image[None], copies, axis=0), np.full(copies, true), dataset.val_inputs, dataset.val_targets,
        num_classes=10, transform=dataset.transform,
    )  # fmt: skip
    labels = corruption.labels(many, np.random.default_rng(5))
    weights = np.random.default_rng(5).standard_normal((10, 64, 10))[true]
    logits = (image.ravel() / 16) @ weights
    logits[true] = -np.inf
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    shares = np.bincount(labels, minlength=10) / copies
    assert shares[true] == 0
    assert np.abs(shares - probabilities).max() < 4 * np.sqrt(0.25 / copies)


def test_the_studys_presets_corrupt_exactly_and_as_run_by_chance() -> None:
    for name in PRESETS:
        corruption = resolve({"preset": name}).corruption
        if isinstance(corruption, Symmetric):
            assert corruption.exact == (name != "harrison-mnist-as-run")
