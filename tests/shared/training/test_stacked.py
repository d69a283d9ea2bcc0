"""The stacked engine against the serial one, the readable reference."""

from math import isnan

import pytest

from shared.catalog.activations import ACTIVATIONS
from shared.catalog.losses import LOSSES
from shared.catalog.optimizers import OPTIMIZERS
from shared.spec import ExperimentSpec
from shared.training.population import EpochRecord
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny
from tests.shared.training.populations import all_members, by_member, on_engine, records
from tests.shared.training.test_resume import CASES

DOUBLE, SINGLE = 1e-9, 1e-3


def assert_engines_agree(spec: ExperimentSpec, *, precision: str, tolerance: float) -> None:
    serial = records(on_engine(spec, "serial", precision=precision))
    stacked = records(on_engine(spec, "stacked", precision=precision))
    assert [(record.member, record.epoch) for record in serial] == [(r.member, r.epoch) for r in stacked]
    for expected, found in zip(serial, stacked, strict=True):
        assert expected.diverged == found.diverged
        for name, value in vars(expected).items():
            assert_close(name, value, getattr(found, name), tolerance)


def assert_close(name: str, expected: float | None, found: float | None, tolerance: float) -> None:
    if expected is None or found is None:
        assert expected is found, name
    elif isnan(expected):
        assert isnan(found), name
    else:
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_trains_as_one_by_one(activation: str) -> None:
    spec = tiny(activations=[activation])
    assert_engines_agree(spec, precision="float64", tolerance=DOUBLE)
    # Without a non-linearity the next batch norm cancels the shift of the one before: its gradient is rounding alone,
    # which Adam scales up to full steps, and the running means follow it into evaluation.
    assert_engines_agree(spec, precision="float32", tolerance=0.05 if activation == "identity" else SINGLE)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_and_loss_trains_as_one_by_one(optimizer: str, loss: str) -> None:
    base = TINY_CLASSIFICATION if LOSSES[loss].task == "classification" else TINY_REGRESSION
    spec = tiny(base, training={"loss": loss, "optimizer": {"kind": optimizer}}, activations=["prelu"])
    assert_engines_agree(spec, precision="float64", tolerance=DOUBLE)


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_spec_trains_as_one_by_one(case: str) -> None:
    # Numbers on their way to infinity magnify the last digit.
    tolerance = 1e-6 if case == "a run that diverges" else DOUBLE
    assert_engines_agree(CASES[case], precision="float64", tolerance=tolerance)


@pytest.mark.parametrize("case", ["regression", "dropout", "noisy activation", "learned activation", "convolutions"])
def test_who_else_is_in_the_population_changes_nothing(case: str) -> None:
    spec = on_engine(CASES[case], "stacked", precision="float64")
    together = by_member(spec)
    for member in all_members(spec):
        for expected, found in zip(together[member], by_member(spec, [member])[member], strict=True):
            for name, value in expected.items():
                assert_close(name, value, found[name], DOUBLE)


def test_a_member_that_diverges_leaves_the_others_as_they_were() -> None:
    spec = on_engine(CASES["a run that diverges"], "stacked", precision="float64")
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
