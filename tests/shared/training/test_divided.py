"""Parts of a population, and what happens when memory turns out too small for them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.spec import ExperimentSpec
from shared.training.divided import DividedPopulation
from shared.training.population import EpochRecord, Member
from shared.training.stacked import StackedPopulation
from tests.shared.specs import tiny
from tests.shared.training.populations import all_members, finish, on_engine, records
from tests.shared.training.test_engines_agree import assert_close
from tests.shared.training.test_resume import CASES, as_comparable, through_a_file

SPEC = tiny(num_seeds=5, activations=["prelu"], training={"precision": "float64"})
DOUBLE = 1e-9


def divided(spec: ExperimentSpec, *, size: int) -> DividedPopulation:
    def build(members: Sequence[Member]) -> StackedPopulation:
        device = torch.device("cpu")
        return StackedPopulation(spec, spec.activations[0], members, datasets_dir=Path("nowhere"), device=device)

    return DividedPopulation(build, all_members(spec), size=size)


def assert_same(found: list[EpochRecord], expected: list[EpochRecord], *, tolerance: float = DOUBLE) -> None:
    by_place = {(record.member, record.epoch): record for record in expected}
    assert [(record.member, record.epoch) for record in found] == list(by_place)
    for record in found:
        wanted = by_place[record.member, record.epoch]
        assert record.val_loss == pytest.approx(wanted.val_loss, rel=tolerance)
        assert record.train_loss == pytest.approx(wanted.train_loss, rel=tolerance)
        assert_close("memorization", wanted.memorization, record.memorization, 1e-6)


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let training more members than that fail, from a call on, as a GPU whose memory is full does."""

    def limit(num_members: int, *, from_call: int = 0) -> None:
        train: Any = StackedPopulation._train
        calls = 0

        def short_of_memory(self: StackedPopulation, *arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if len(self.members) > num_members and calls > from_call:
                raise torch.OutOfMemoryError("out of memory")
            train(self, *arguments)

        monkeypatch.setattr(StackedPopulation, "_train", short_of_memory)

    return limit


@pytest.mark.parametrize("size", [1, 3, 4, 10, 99])
def test_however_a_population_is_divided_the_numbers_are_the_same(size: int) -> None:
    assert_same(finish_both(size), records(on_engine(SPEC, "serial")))


def finish_both(size: int) -> list[EpochRecord]:
    trained = divided(SPEC, size=size)
    found = finish(trained)
    assert trained.epoch == SPEC.training.epochs
    return found


@pytest.mark.usefixtures("slices_of_one_batch")
@pytest.mark.parametrize("from_call", [0, 2, 5])
def test_too_little_memory_halves_the_population_and_nothing_else(
    from_call: int, memory_for: Callable[..., None]
) -> None:
    memory_for(3, from_call=from_call)
    trained = divided(SPEC, size=10)
    assert_same(finish(trained), records(on_engine(SPEC, "serial")))
    assert int(trained.state()["size"]) == 3


def test_too_little_memory_for_building_halves_the_population_too(monkeypatch: pytest.MonkeyPatch) -> None:
    initialise: Any = StackedPopulation.__init__

    def short_of_memory(self: StackedPopulation, spec: Any, activation: Any, members: Any, **options: Any) -> None:
        if len(members) > 3:
            raise torch.OutOfMemoryError("out of memory")
        initialise(self, spec, activation, members, **options)

    monkeypatch.setattr(StackedPopulation, "__init__", short_of_memory)
    trained = divided(SPEC, size=10)
    assert_same(finish(trained), records(on_engine(SPEC, "serial")))


def test_a_network_that_does_not_fit_alone_is_an_error(memory_for: Callable[..., None]) -> None:
    memory_for(0)
    with pytest.raises(torch.OutOfMemoryError):
        finish(divided(SPEC, size=4))


@pytest.mark.usefixtures("slices_of_one_batch")
@pytest.mark.parametrize("after", [0, 1, 4, 9, 14])
def test_divided_populations_resume_in_parts_of_the_same_size(after: int, tmp_path: Path) -> None:
    expected = as_comparable(finish(divided(SPEC, size=4)))
    first, done = divided(SPEC, size=4), list[EpochRecord]()
    for _ in range(after):
        done += first.advance() or []
    second = divided(SPEC, size=10)
    second.load_state(through_a_file(first.state(), tmp_path))
    assert second.epoch == first.epoch
    assert as_comparable(done + finish(second)) == expected


def test_a_part_that_diverged_leaves_the_others_to_finish() -> None:
    spec = on_engine(CASES["a run that diverges"], "stacked", precision="float64")
    alone = {(record.member, record.epoch): record.diverged for record in records(on_engine(spec, "serial"))}
    found = finish(divided(spec, size=1))
    assert {(record.member, record.epoch): record.diverged for record in found} == alone


class Replaying:
    """Records on the processor: a replay is the step itself."""

    def __init__(self) -> None:
        self.num_recorded = self.num_replayed = 0

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        self.num_recorded += 1
        for _ in range(3):
            step()

        def replay() -> None:
            self.num_replayed += 1
            step()

        return replay


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_recorded_steps_train_as_those_taken_one_by_one(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny(
        activations=["prelu"],
        training={
            "precision": "float64", "engine": "stacked", "optimizer": {"kind": optimizer},
            "schedule": {"kind": "step", "step_size": 1, "gamma": 0.5},
        },
    )  # fmt: skip
    expected = records(spec)
    recorder = Replaying()
    monkeypatch.setattr("shared.training.stacked.recorder_for", lambda _: recorder)
    assert_same(records(spec), expected, tolerance=1e-6)  # the learning rate is rounded to float32
    # 40 rows are two batches of 16 and one of 8.
    assert (recorder.num_recorded, recorder.num_replayed) == (2, 9)


def test_steps_with_random_draws_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Replaying()
    monkeypatch.setattr("shared.training.stacked.recorder_for", lambda _: recorder)
    records(on_engine(CASES["dropout"], "stacked"))
    assert recorder.num_recorded == 0
