import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from shared.catalog.activations import ACTIVATIONS
from shared.catalog.losses import LOSSES
from shared.catalog.optimizers import OPTIMIZERS
from shared.catalog.schedules import SCHEDULES
from shared.training.population import Member
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny_serial
from tests.shared.training.populations import by_member, population, records

CLEAN, DIRTY = Member(0.0, 0), Member(0.2, 0)
BASES: dict[str, Mapping[str, Any]] = {"regression": TINY_REGRESSION, "classification": TINY_CLASSIFICATION}

both_tasks = pytest.mark.parametrize("task", BASES)


@both_tasks
def test_the_same_seed_gives_identical_records(task: str) -> None:
    assert records(tiny_serial(BASES[task])) == records(tiny_serial(BASES[task]))


@both_tasks
def test_two_seeds_differ_and_so_do_two_base_seeds(task: str) -> None:
    trained = by_member(tiny_serial(BASES[task]))
    assert trained[Member(0.0, 0)] != trained[Member(0.0, 1)]
    assert trained[Member(0.2, 0)] != trained[Member(0.2, 1)]
    assert by_member(tiny_serial(BASES[task], base_seed=1))[Member(0.0, 0)] != trained[Member(0.0, 0)]


@both_tasks
def test_runs_of_a_sweep_equal_those_of_an_experiment_with_one_rate(task: str) -> None:
    single = by_member(tiny_serial(BASES[task]))
    sweep = by_member(tiny_serial(BASES[task], corruption={"rates": [0.6, 0.1, 0.2]}))
    for member, trained in single.items():
        assert sweep[member] == trained


@both_tasks
def test_a_run_does_not_depend_on_who_trains_beside_it(task: str) -> None:
    spec = tiny_serial(BASES[task], architecture={"dropout": 0.3})
    together = by_member(spec)
    for member, trained in together.items():
        assert by_member(spec, [member])[member] == trained


@both_tasks
def test_the_label_of_an_activation_changes_nothing(task: str) -> None:
    """Weights, batches, dropout and dirt come from streams that do not know it."""
    spec = tiny_serial(
        BASES[task], activations=["elu", {"kind": "elu", "label": "again"}], architecture={"dropout": 0.3}
    )
    assert by_member(spec, label="elu") == by_member(spec, label="again")


@both_tasks
def test_an_activation_trains_alike_beside_other_activations(task: str) -> None:
    alone, beside = tiny_serial(BASES[task]), tiny_serial(BASES[task], activations=["tanh", "relu"])
    assert by_member(alone) == by_member(beside, label="relu")


@both_tasks
def test_activations_differ_from_one_another(task: str) -> None:
    spec = tiny_serial(BASES[task], activations=["relu", "tanh"])
    assert by_member(spec, label="relu") != by_member(spec, label="tanh")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"kind": "leaky_relu", "negative_slope": 0.25}, {"kind": "rrelu", "lower": 0.25, "upper": 0.25}),
        ({"kind": "relu"}, {"kind": "leaky_relu", "negative_slope": 0.0}),
    ],
    ids=str,
)
def test_one_function_under_two_names_trains_to_the_same_losses(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Even where one of them draws noise of its own, dropout masks and batches are shared."""
    losses = [
        [record.val_loss for record in records(tiny_serial(activations=[one], architecture={"dropout": 0.4}))]
        for one in (first, second)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def initial_weights(kind: str, member: Member) -> dict[str, torch.Tensor]:
    spec = tiny_serial(TINY_CLASSIFICATION, activations=[kind], corruption={"rates": [0.2, 0.4]})
    state = population(spec, [member]).state()
    return {name: value.clone() for name, value in state.items() if value.dim() > 1 and ".network." in name}


def test_all_activations_and_rates_of_a_seed_start_from_the_same_weights() -> None:
    reference = initial_weights("relu", Member(0.0, 1))
    assert len(reference) == 3
    for kind in ACTIVATIONS:
        for rate in (0.0, 0.2, 0.4):
            weights = initial_weights(kind, Member(rate, 1))
            assert weights.keys() == reference.keys()
            assert all(torch.equal(weights[name], reference[name]) for name in weights)
    other = initial_weights("relu", Member(0.0, 0))
    assert not any(torch.equal(other[name], reference[name]) for name in reference)


@both_tasks
def test_every_member_has_one_record_an_epoch_and_all_finish_it_together(task: str) -> None:
    trained = population(tiny_serial(BASES[task]))
    epochs = []
    while not trained.finished:
        done = trained.advance()
        if done:
            assert [record.member for record in done] == [0, 1, 2, 3]
            assert len({record.epoch for record in done}) == 1
            epochs.append(done[0].epoch)
            assert trained.epoch == done[0].epoch
    assert epochs == [1, 2, 3]


def test_a_record_of_a_regression_knows_no_accuracy() -> None:
    clean, dirty = (by_member(tiny_serial())[member][-1] for member in (CLEAN, DIRTY))
    for record in (clean, dirty):
        assert record["train_accuracy"] is record["val_accuracy"] is record["val_accuracy_a"] is None
        assert record["recovery"] is None
    assert clean["memorization"] is None
    assert dirty["memorization"] is not None


def test_a_record_of_a_classification_knows_memorization_and_recovery_where_there_is_dirt() -> None:
    trained = by_member(tiny_serial(TINY_CLASSIFICATION))
    for name in ("train_accuracy", "val_accuracy", "val_accuracy_a"):
        assert 0 <= (trained[CLEAN][-1][name] or 0) <= 1
    for name in ("memorization", "recovery"):
        assert trained[CLEAN][-1][name] is None
        assert trained[DIRTY][-1][name] is not None


def test_a_network_that_trains_for_long_learns() -> None:
    spec = tiny_serial(TINY_CLASSIFICATION, training={"epochs": 20}, architecture={"hidden": [32]}, num_seeds=1)
    trained = by_member(spec)
    first, last = trained[CLEAN][0], trained[CLEAN][-1]
    assert (last["train_loss"] or 0) < (first["train_loss"] or 0) / 2
    assert (last["val_accuracy"] or 0) > 0.6
    assert (last["train_accuracy"] or 0) > 0.9
    assert (trained[DIRTY][-1]["memorization"] or 0) > 0.3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_trains_with_every_optimiser_and_loss(activation: str, loss: str, optimizer: str) -> None:
    spec = tiny_serial(
        BASES[LOSSES[loss].task],
        activations=[activation],
        training={"epochs": 1, "loss": loss, "optimizer": {"kind": optimizer}},
        num_seeds=1,
    )
    for record in records(spec):
        assert math.isfinite(record.train_loss)
        assert math.isfinite(record.val_loss)
        assert not record.diverged


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_changes_only_the_epochs_after_it_changed_the_rate(schedule: str) -> None:
    plain, scheduled = (
        by_member(tiny_serial(training={"epochs": 4, "schedule": {"kind": kind}}), [CLEAN])[CLEAN]
        for kind in ("constant", schedule)
    )
    factors = [SCHEDULES[schedule](kind=schedule).factor(epoch, 4) for epoch in range(1, 5)]
    same = next((epoch for epoch, factor in enumerate(factors) if factor != 1), 4)
    assert plain[:same] == scheduled[:same]
    assert all(first != second for first, second in zip(plain[same:], scheduled[same:], strict=True))


def diverging(**changes: Any) -> Any:
    """Clean rows train; noise of a thousand standard deviations blows the dirty ones up."""
    return tiny_serial(
        corruption={"sd": 1000.0, "rates": [0.5]},
        architecture={"batch_norm": False},
        training={"epochs": 4, "optimizer": {"kind": "sgd", "lr": 0.05}, **changes},
        activations=["identity"],
    )


def test_a_run_that_diverges_ends_with_that_epoch_and_the_others_go_on() -> None:
    trained = by_member(diverging())
    for seed in range(2):
        clean, dirty = trained[Member(0.0, seed)], trained[Member(0.5, seed)]
        assert [record["epoch"] for record in clean] == [1, 2, 3, 4]
        assert not any(record["diverged"] for record in clean)
        assert dirty[-1]["diverged"]
        assert not math.isfinite(dirty[-1]["train_loss"] or 0) or not math.isfinite(dirty[-1]["val_loss"] or 0)
        assert [record["epoch"] for record in dirty] == list(range(1, len(dirty) + 1))
        assert not any(record["diverged"] for record in dirty[:-1])
        assert len(dirty) < 4


def test_runs_beside_one_that_diverges_are_as_they_would_be_without_it() -> None:
    spec = diverging()
    assert by_member(spec, [CLEAN])[CLEAN] == by_member(spec)[CLEAN]


def test_training_is_over_once_every_run_has_diverged() -> None:
    spec = diverging()
    only_dirty = [Member(0.5, 0), Member(0.5, 1)]
    trained = population(spec, only_dirty)
    done = []
    while not trained.finished:
        done += trained.advance() or []
    assert trained.epoch < 4
    assert {record.member for record in done if record.diverged} == {0, 1}


def test_a_huge_learning_rate_is_recorded_as_divergence() -> None:
    spec = tiny_serial(
        architecture={"batch_norm": False}, training={"optimizer": {"kind": "sgd", "lr": 100}, "epochs": 5}, num_seeds=1
    )
    done = records(spec)
    assert {record.member for record in done if record.diverged} == {0, 1}


@pytest.mark.parametrize("batch_size", [39, 13, 64])
def test_the_running_loss_weighs_every_row_once(batch_size: int) -> None:
    """With a learning rate that moves nothing, the running mean is the mean over rows, however they are batched."""
    training = {
        "batch_size": batch_size,
        "optimizer": {"kind": "sgd", "lr": 1e-12},
        "epochs": 1,
        "precision": "float64",
    }
    reference = {**training, "batch_size": 40}
    losses = [
        [record.train_loss for record in records(tiny_serial(training=options, architecture={"batch_norm": False}))]
        for options in (training, reference)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_to_the_same_losses_within_rounding() -> None:
    losses = [
        [record.val_loss for record in records(tiny_serial(training={"device": device, "precision": "float64"}))]
        for device in ("cpu", "cuda")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
