from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.spec import ExperimentSpec
from shared.store.checkpoints import CheckpointStore
from shared.store.queue import Lease
from shared.store.types import new_id
from shared.training.population import EpochRecord, Member, Population
from tests.shared.specs import TINY_CLASSIFICATION, tiny
from tests.shared.training.populations import all_members, finish, on_engine, population

pytestmark = pytest.mark.usefixtures("slices_of_one_batch")

TWO_EPOCHS = {"epochs": 2}
TINY_CNN: Mapping[str, Any] = {
    **TINY_CLASSIFICATION,
    "dataset": {"kind": "digits", "train_size": 40, "val_size": 20, "image_size": 28},
    "architecture": {"kind": "harrison_cnn", "dropout": 0.25},
    "num_seeds": 1,
}
CASES: dict[str, ExperimentSpec] = {
    "regression": tiny(training=TWO_EPOCHS),
    "classification": tiny(TINY_CLASSIFICATION, training=TWO_EPOCHS),
    "without batch norm": tiny(training=TWO_EPOCHS, architecture={"batch_norm": False}),
    "dropout": tiny(training=TWO_EPOCHS, architecture={"dropout": 0.5}),
    "noisy activation": tiny(training=TWO_EPOCHS, activations=["rrelu"]),
    "noisy activation and dropout": tiny(training=TWO_EPOCHS, activations=["rrelu"], architecture={"dropout": 0.3}),
    "learned activation": tiny(training=TWO_EPOCHS, activations=["prelu"]),
    "learned factor": tiny(training=TWO_EPOCHS, activations=[{"kind": "swish", "learn_beta": True}]),
    "learned activation, decayed": tiny(
        training={**TWO_EPOCHS, "optimizer": {"weight_decay": 0.1, "decay_activations": True}}, activations=["prelu"]
    ),
    "adamw": tiny(training={**TWO_EPOCHS, "optimizer": {"kind": "adamw", "lr": 0.01}}),
    "sgd": tiny(training={**TWO_EPOCHS, "optimizer": {"kind": "sgd"}}),
    "sgd with momentum": tiny(training={**TWO_EPOCHS, "optimizer": {"kind": "sgd", "momentum": 0.9}}),
    "nesterov": tiny(training={**TWO_EPOCHS, "optimizer": {"kind": "sgd", "momentum": 0.9, "nesterov": True}}),
    "step schedule": tiny(training={"epochs": 3, "schedule": {"kind": "step", "step_size": 1, "gamma": 0.5}}),
    "cosine schedule": tiny(training={"epochs": 3, "schedule": {"kind": "cosine"}}),
    "double precision": tiny(training={**TWO_EPOCHS, "precision": "float64"}),
    "mean absolute error": tiny(training={**TWO_EPOCHS, "loss": "mae"}),
    "convolutions": tiny(TINY_CNN, training=TWO_EPOCHS),
    "bytes that become -1 to 1": tiny(
        {**TINY_CLASSIFICATION, "dataset": {"kind": "shapeset", "train_size": 40, "val_size": 20}}, training=TWO_EPOCHS
    ),
    "outputs that are activated features": tiny(TINY_CNN, training=TWO_EPOCHS, architecture={"output_layer": False}),
    "scaled normal weights and no first biases": tiny(
        training=TWO_EPOCHS, architecture={"init": "variance_preserving", "batch_norm": False}
    ),
    "clean against clean": tiny({**TINY_CLASSIFICATION, "corruption": {"kind": "none"}}, training=TWO_EPOCHS),
    "another dirty split": tiny(training=TWO_EPOCHS, dataset={"dirty_split": "independent"}),
    "a run that diverges": tiny(
        corruption={"sd": 1000.0, "rates": [0.5]},
        architecture={"batch_norm": False},
        training={"epochs": 4, "optimizer": {"kind": "sgd", "lr": 0.05}},
        activations=["identity"],
    ),
}

ON_EVERY_ENGINE = [
    (case, engine)
    for case in CASES
    for engine in ("serial", "stacked", "compiled")
    if not (engine == "compiled" and "noisy activation" in case)  # random activations have no compiled form
]


def through_a_file(state: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Save and load as a worker does."""
    store, lease = CheckpointStore(folder), Lease(new_id(), 1)
    pointer = store.save(lease, state, epoch=0, number=1)
    return next(store.load(lease.job_id, [pointer]))


def finish_interrupted(spec: ExperimentSpec, folder: Path, *, after: int) -> tuple[list[EpochRecord], Population]:
    """Train `after` batches, save, throw everything away, load into a new population and finish."""
    first, records = population(spec), []
    for _ in range(after):
        if not first.finished:
            records += first.advance() or []
    state = through_a_file(first.state(), folder)
    del first
    second = population(spec)
    second.load_state(state)
    return records + finish(second), second


def assert_same_weights(first: Population, second: Population) -> None:
    states = first.state(), second.state()
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.equal(states[0][name].nan_to_num(), states[1][name].nan_to_num()), name


def as_comparable(records: list[EpochRecord]) -> list[str]:
    """NaN differs from itself; its text does not."""
    return [repr(record) for record in records]


@pytest.mark.parametrize(("case", "engine"), ON_EVERY_ENGINE)
def test_a_population_resumed_in_the_middle_of_an_epoch_ends_as_if_undisturbed(
    case: str, engine: str, tmp_path: Path
) -> None:
    spec = on_engine(CASES[case], engine)
    undisturbed = population(spec)
    expected = finish(undisturbed)
    # Batches are 16 of 40 or 60 rows: 3 or 4 an epoch and member. These points lie within the first member's
    # epoch, between two members, within a later member's, and in the second epoch.
    for after in (1, 4, 5, 14):
        resumed, second = finish_interrupted(spec, tmp_path, after=after)
        assert as_comparable(resumed) == as_comparable(expected)
        assert_same_weights(undisturbed, second)


def test_a_population_interrupted_after_every_single_batch_ends_as_if_undisturbed(tmp_path: Path) -> None:
    spec = tiny(training=TWO_EPOCHS, architecture={"dropout": 0.5}, activations=["rrelu"])
    expected, state, records = finish(population(spec)), population(spec).state(), []
    while True:
        current = population(spec)
        current.load_state(through_a_file(state, tmp_path))
        if current.finished:
            break
        records += current.advance() or []
        state = current.state()
    assert as_comparable(records) == as_comparable(expected)


def test_a_state_taken_before_the_first_batch_is_a_start_like_any_other(tmp_path: Path) -> None:
    spec = CASES["dropout"]
    assert as_comparable(finish_interrupted(spec, tmp_path, after=0)[0]) == as_comparable(finish(population(spec)))


def test_a_finished_population_stays_finished(tmp_path: Path) -> None:
    spec = CASES["regression"]
    trained = population(spec)
    finish(trained)
    resumed = population(spec)
    resumed.load_state(through_a_file(trained.state(), tmp_path))
    assert resumed.finished
    assert resumed.epoch == 2


def test_a_run_that_diverged_stays_so_after_a_resume(tmp_path: Path) -> None:
    spec = CASES["a run that diverges"]
    first, done = population(spec), list[EpochRecord]()
    while not any(record.diverged for record in done):
        done += first.advance() or []
    second = population(spec)
    second.load_state(through_a_file(first.state(), tmp_path))
    later = finish(second)
    ended = {record.member for record in done if record.diverged}
    assert later
    assert not ended & {record.member for record in later}


def test_checkpoints_of_other_populations_are_refused() -> None:
    state = population(tiny()).state()
    for other in (tiny(architecture={"hidden": [9, 6]}), tiny(architecture={"hidden": [8]}), tiny(num_seeds=3)):
        with pytest.raises((KeyError, ValueError, RuntimeError)):
            population(other).load_state(state)


def test_a_single_member_can_be_resumed_too(tmp_path: Path) -> None:
    spec = tiny(training=TWO_EPOCHS)
    chosen = [all_members(spec)[1]]
    assert chosen == [Member(0.2, 0)]
    first, records = population(spec, chosen), []
    for _ in range(4):
        records += first.advance() or []
    second = population(spec, chosen)
    second.load_state(through_a_file(first.state(), tmp_path))
    assert as_comparable(records + finish(second)) == as_comparable(finish(population(spec, chosen)))
