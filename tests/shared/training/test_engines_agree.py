"""The stacked and the compiled engine against the serial one, the readable reference."""

from functools import cache
from itertools import combinations, product
from math import isfinite
from typing import Any

import pytest
import torch

from shared.catalog.activations import ACTIVATIONS
from shared.catalog.losses import LOSSES
from shared.catalog.optimizers import OPTIMIZERS
from shared.spec import ExperimentSpec
from shared.training.population import EpochRecord
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny
from tests.shared.training.populations import all_members, by_member, finish, on_engine, population, records
from tests.shared.training.test_resume import CASES, ON_EVERY_ENGINE

TOLERANCES = {"float64": 1e-9, "float32": 1e-3}
DOUBLE = TOLERANCES["float64"]
# Every activation with every loss, the optimisers taking turns so that each meets every activation and every loss.
COVERING = [
    (activation, list(OPTIMIZERS)[(i + j) % len(OPTIMIZERS)], loss)
    for i, activation in enumerate(ACTIVATIONS)
    for j, loss in enumerate(LOSSES)
]
ON_BOTH = [(case, engine) for case, engine in ON_EVERY_ENGINE if engine != "serial"]


@cache
def one_by_one(spec: ExperimentSpec, precision: str) -> list[EpochRecord]:
    return records(on_engine(spec, "serial", precision=precision))


def assert_agrees(spec: ExperimentSpec, engine: str, *, precision: str, tolerance: float) -> None:
    expected, found = one_by_one(spec, precision), records(on_engine(spec, engine, precision=precision))
    assert [(record.member, record.epoch) for record in expected] == [(r.member, r.epoch) for r in found]
    for wanted, record in zip(expected, found, strict=True):
        assert wanted.diverged == record.diverged
        for name, value in vars(wanted).items():
            assert_close(name, value, getattr(record, name), tolerance)


def assert_close(name: str, expected: float | None, found: float | None, tolerance: float) -> None:
    if expected is None or found is None:
        assert expected is found, name
    elif not isfinite(expected):
        assert not isfinite(found), name  # what rounding decides is whether it is infinite or not a number any more
    else:
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), name


def test_the_covering_product_leaves_out_no_pair() -> None:
    catalogs = (ACTIVATIONS, OPTIMIZERS, LOSSES)
    for i, j in combinations(range(3), 2):
        assert {(case[i], case[j]) for case in COVERING} == set(product(catalogs[i], catalogs[j]))


@pytest.mark.parametrize("engine", ["stacked", "compiled"])
@pytest.mark.parametrize(("activation", "optimizer", "loss"), COVERING)
def test_every_activation_optimiser_and_loss_trains_as_one_by_one(
    activation: str, optimizer: str, loss: str, engine: str
) -> None:
    if engine == "compiled" and activation == "rrelu":
        engine = "auto"  # random activations have no compiled form
    base = TINY_CLASSIFICATION if LOSSES[loss].task == "classification" else TINY_REGRESSION
    training = {"loss": loss, "optimizer": {"kind": optimizer}}
    spec = tiny(base, training=training, activations=[activation])
    for precision, tolerance in TOLERANCES.items():
        # Without a non-linearity the next batch norm cancels the shift of the one before: its gradient is rounding
        # alone, which Adam scales up to full steps, and the running means follow it into evaluation.
        lenient = activation == "identity" and precision == "float32"
        assert_agrees(spec, engine, precision=precision, tolerance=0.05 if lenient else tolerance)


@pytest.mark.parametrize(("case", "engine"), ON_BOTH)
def test_every_kind_of_spec_trains_as_one_by_one(case: str, engine: str) -> None:
    # Numbers on their way to infinity magnify the last digit.
    tolerance = 1e-6 if case == "a run that diverges" else DOUBLE
    assert_agrees(CASES[case], engine, precision="float64", tolerance=tolerance)


@pytest.mark.parametrize("engine", ["serial", "stacked", "compiled"])
@pytest.mark.parametrize("case", ["regression", "without batch norm", "dropout", "convolutions"])
def test_in_mixed_precision_every_engine_stays_near_the_full_one(case: str, engine: str) -> None:
    if engine == "compiled" and not torch.cpu._is_avx512_bf16_supported():
        engine = "auto"  # there is no compiled form for such a processor
    found = records(on_engine(CASES[case], engine, precision="bfloat16"))
    assert [record.train_loss for record in found] != [
        record.train_loss for record in one_by_one(CASES[case], "float32")
    ]
    for expected, record in zip(one_by_one(CASES[case], "float32"), found, strict=True):
        assert record.train_loss == pytest.approx(expected.train_loss, rel=0.05)
        assert record.val_loss == pytest.approx(expected.val_loss, rel=0.1)


@pytest.mark.parametrize(("case", "engine"), ON_BOTH)
def test_who_else_is_in_the_population_changes_nothing(case: str, engine: str) -> None:
    spec = on_engine(CASES[case], engine, precision="float64")
    tolerance = DOUBLE if engine == "stacked" else 0
    together = by_member(spec)
    for member in all_members(spec):
        for expected, found in zip(together[member], by_member(spec, [member])[member], strict=True):
            for name, value in expected.items():
                assert_close(name, value, found[name], tolerance)


@pytest.mark.parametrize("engine", ["stacked", "compiled"])
def test_a_member_that_diverges_leaves_the_others_as_they_were(engine: str) -> None:
    spec = on_engine(CASES["a run that diverges"], engine, precision="float64")
    found: list[EpochRecord] = records(spec)
    diverged = {record.member for record in found if record.diverged}
    members = all_members(spec)
    assert diverged
    assert diverged < set(range(len(members)))
    for k in set(range(len(members))) - diverged:
        alone = by_member(spec, [members[k]])[members[k]]
        assert [numbers["epoch"] for numbers in alone] == [1, 2, 3, 4]
        in_company = [record for record in found if record.member == k]
        for expected, record in zip(alone, in_company, strict=True):
            assert_close("val_loss", expected["val_loss"], record.val_loss, DOUBLE)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("case", ["regression", "convolutions"])
def test_what_a_compiled_network_left_behind_does_not_reach_the_next(case: str, precision: str) -> None:
    spec = on_engine(CASES[case], "compiled", precision=precision)
    members = all_members(spec)
    expected = by_member(spec, [members[1]])[members[1]]
    poisoned: Any = population(spec, members)
    poisoned._weights_KP[0] = float("nan")
    found = [record for record in finish(poisoned) if record.member == 1]
    assert len(found) == len(expected)
    for record, wanted in zip(found, expected, strict=True):
        assert {name: getattr(record, name) for name in wanted} == wanted
