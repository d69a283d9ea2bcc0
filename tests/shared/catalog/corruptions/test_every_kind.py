"""What holds for every kind of dirt, at every rate and seed."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalog.corruptions import CORRUPTIONS, Corruption, corrupt, num_corrupted
from shared.errors import InvalidSpecError
from tests.shared.catalog.corruptions.support import NUM_ROWS, changed_rows, dataset_for, dirty
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, make, tiny

# Each kind as it is by default, and with every option that changes what is done.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "gaussian": [{"sd": 2.0}, {"on": "inputs"}, {"on": "target"}],
    "outlier": [{"k": 100.0}, {"on": "inputs"}, {"on": "target"}],
    "heavy_tail": [{"df": 1.0, "scale": 3.0}, {"on": "inputs"}, {"on": "target"}],
    "missing": [{"share": 0.01}, {"share": 1.0}],
    "symmetric": [{"exclusive": False}, {"exact": False}, {"concentrated": True}],
    "asymmetric": [{"class_map": [[0, 9]]}],
    "image_gaussian": [{"severity": 1}, {"severity": 5}],
    "image_impulse": [{"severity": 5}],
}
CASES = [(kind, parameters) for kind in CORRUPTIONS for parameters in [{}, *VARIANTS.get(kind, [])]]
DIRT = [make(CORRUPTIONS, kind, **parameters) for kind, parameters in CASES if kind != "none"]

every_corruption = pytest.mark.parametrize(
    "corruption", [make(CORRUPTIONS, kind, **parameters) for kind, parameters in CASES], ids=str
)
every_dirt = pytest.mark.parametrize("corruption", DIRT, ids=str)
rates = st.floats(0.001, 0.999)
seeds = st.integers(0, 10**6)
sometimes = settings(deadline=None, max_examples=15)


def num_hit(corruption: Corruption, rate: float) -> int | None:
    """How many rows a kind hits, written anew; None where that is left to chance."""
    if corruption.kind == "none":
        return 0
    if not getattr(corruption, "exact", True):
        return None
    candidates = np.ones(NUM_ROWS, dtype=bool)
    if corruption.kind == "asymmetric":
        named = [true for true, _ in getattr(corruption, "class_map")]  # noqa: B009 (a field of this kind only)
        candidates = np.isin(dataset_for(corruption).train_targets, named)
    return round(rate * int(candidates.sum()))


@every_corruption
@sometimes
@given(rate=rates, seed=seeds)
def test_exactly_the_asked_number_of_rows_is_hit(corruption: Corruption, rate: float, seed: int) -> None:
    rows, clean = dirty(corruption, rate, seed=seed), dataset_for(corruption)
    expected = num_hit(corruption, rate)
    if expected is not None:
        assert len(rows.rows) == expected
    assert set(changed_rows(rows, clean)) <= set(rows.rows.tolist())
    assert rows.realised_rate == len(changed_rows(rows, clean)) / NUM_ROWS


@every_corruption
@sometimes
@given(pair=st.tuples(rates, rates).map(sorted), seed=seeds)
def test_rows_of_a_low_rate_are_corrupted_alike_at_every_higher_rate(
    corruption: Corruption, pair: list[float], seed: int
) -> None:
    lower, higher = (dirty(corruption, rate, seed=seed) for rate in pair)
    assert set(lower.rows) <= set(higher.rows)
    assert np.array_equal(lower.inputs[lower.rows], higher.inputs[lower.rows])
    assert np.array_equal(lower.targets[lower.rows], higher.targets[lower.rows])


@every_corruption
@sometimes
@given(rate=rates, seed=seeds)
def test_dirt_depends_on_the_seeds_alone_and_writes_on_nothing(corruption: Corruption, rate: float, seed: int) -> None:
    """Activations share it: there is nothing else that it could depend on."""
    dataset = dataset_for(corruption)
    untouched = copy.deepcopy(dataset)
    first, again = (corrupt(dataset, corruption, rate, base_seed=3, seed=seed) for _ in range(2))
    assert np.array_equal(first.inputs, again.inputs)
    assert np.array_equal(first.targets, again.targets)
    assert first.mask_hash == again.mask_hash
    for name in ("train_inputs", "train_targets", "val_inputs", "val_targets"):
        assert np.array_equal(getattr(dataset, name), getattr(untouched, name))
    assert np.array_equal(first.true_targets, untouched.train_targets)


@every_corruption
def test_rate_zero_leaves_the_data_unchanged(corruption: Corruption) -> None:
    rows, clean = dirty(corruption, 0.0), dataset_for(corruption)
    assert rows.inputs is clean.train_inputs
    assert rows.targets is clean.train_targets
    assert rows.realised_rate == 0.0
    assert len(rows.rows) == 0


@every_corruption
def test_types_and_shapes_stay(corruption: Corruption) -> None:
    rows, clean = dirty(corruption, 0.5), dataset_for(corruption)
    assert (rows.inputs.dtype, rows.inputs.shape) == (clean.train_inputs.dtype, clean.train_inputs.shape)
    assert (rows.targets.dtype, rows.targets.shape) == (clean.train_targets.dtype, clean.train_targets.shape)
    assert np.isfinite(rows.inputs).all()
    assert np.isfinite(rows.targets).all()


@every_dirt
def test_dirt_does_not_depend_on_the_other_rates_of_the_experiment(corruption: Corruption) -> None:
    document = corruption.model_dump(mode="json", exclude={"rates"})
    alone, beside = (make(CORRUPTIONS, **document, rates=list(rates)) for rates in ((0.1,), (0.05, 0.1, 0.4)))
    first, second = dirty(alone, 0.1), dirty(beside, 0.1)
    assert np.array_equal(first.inputs, second.inputs)
    assert np.array_equal(first.targets, second.targets)
    assert first.mask_hash == second.mask_hash


@every_dirt
def test_other_seeds_give_other_dirt(corruption: Corruption) -> None:
    sets = [dirty(corruption, 0.2), dirty(corruption, 0.2, seed=1), dirty(corruption, 0.2, base_seed=1)]
    assert len({rows.mask_hash for rows in sets}) == 3


@every_dirt
def test_the_hash_of_the_mask_names_the_chosen_rows(corruption: Corruption) -> None:
    hashes = {rate: dirty(corruption, rate).mask_hash for rate in (0.0, 0.1, 0.2)}
    assert len(set(hashes.values())) == 3
    assert all(len(text) == 64 for text in hashes.values())


@every_dirt
def test_almost_all_of_the_data_can_be_dirty(corruption: Corruption) -> None:
    assert len(dirty(corruption, 0.999).rows) > 0.95 * (num_hit(corruption, 0.999) or NUM_ROWS)


def test_the_mask_depends_on_the_kind_of_dirt_only_where_the_kind_says_so() -> None:
    kinds = ["gaussian", "outlier", "heavy_tail", "missing"]
    assert len({dirty(make(CORRUPTIONS, kind), 0.3).mask_hash for kind in kinds}) == 1
    kinds = ["symmetric", "pairflip", "instance", "image_gaussian", "image_impulse"]
    assert len({dirty(make(CORRUPTIONS, kind), 0.3).mask_hash for kind in kinds}) == 1


@pytest.mark.parametrize(("rate", "num_rows", "expected"), [(0.1, 5000, 500), (0.8, 7, 6), (0.05, 10, 0), (0.5, 3, 2)])
def test_the_number_of_corrupted_rows_is_rounded(rate: float, num_rows: int, expected: int) -> None:
    assert num_corrupted(rate, num_rows) == expected


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_dirt_that_does_not_fit_the_task_is_refused(kind: str) -> None:
    for base, task in ((TINY_REGRESSION, "regression"), (TINY_CLASSIFICATION, "classification")):
        document = {**base, "corruption": {"kind": kind}}
        if make(CORRUPTIONS, kind).fits(task):  # type: ignore[arg-type]
            assert tiny(document).corruption.kind == kind
        else:
            with pytest.raises(InvalidSpecError, match=f"does not fit a {task}"):
                tiny(document)


@pytest.mark.parametrize("rates", [[0], [0.0], [1], [1.5], [-0.1], [0.1, 0.1], [0.5, 1.0], [], ["0.1"], [None], 0.1])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_rates_that_are_no_shares_are_refused_with_a_pointer(kind: str, rates: Any) -> None:
    base = TINY_REGRESSION if make(CORRUPTIONS, kind).fits("regression") else TINY_CLASSIFICATION
    with pytest.raises(InvalidSpecError) as caught:
        tiny({**base, "corruption": {"kind": kind, "rates": rates}})
    (problem,) = caught.value.problems
    assert problem.pointer is not None
    assert problem.pointer.startswith("/corruption/rates")
