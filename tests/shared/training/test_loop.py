from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from shared.training.loop import train
from shared.training.population import EpochRecord, Population
from tests.shared.specs import tiny_serial
from tests.shared.training.populations import finish, population

pytestmark = pytest.mark.usefixtures("slices_of_one_batch")

# Four members of three batches: an epoch takes twelve slices.
SLICES_PER_EPOCH = 12


@dataclass
class Outside:
    """Whoever runs the loop: notes what it is told, and asks to stop after some slices."""

    stop_after: int | None = None
    records: list[EpochRecord] = field(default_factory=list)
    commits: list[int] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    slices: int = 0

    def stop_requested(self) -> bool:
        self.slices += 1
        return self.slices == self.stop_after

    def commit(self, records: list[EpochRecord]) -> None:
        self.records += records
        self.commits.append(records[0].epoch)

    def checkpoint(self, population: Population) -> None:
        self.checkpoints.append(population.epoch)


def ticking(step_s: float) -> Callable[[], float]:
    """A clock that moves on by `step_s` each time it is read."""

    def times() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            now += step_s

    return times().__next__


def test_training_to_the_end_commits_every_epoch_once() -> None:
    outside = Outside()
    assert train(population(tiny_serial()), outside, checkpoint_interval_s=1e9) is True
    assert outside.commits == [1, 2, 3]
    assert outside.records == finish(population(tiny_serial()))
    assert outside.checkpoints == []


@pytest.mark.parametrize("stop_after", [1, 7, SLICES_PER_EPOCH, SLICES_PER_EPOCH + 1, 2 * SLICES_PER_EPOCH])
def test_a_stop_is_obeyed_after_the_present_slice(stop_after: int) -> None:
    outside, trained = Outside(stop_after=stop_after), population(tiny_serial())
    assert train(trained, outside, checkpoint_interval_s=1e9) is False
    assert outside.slices == stop_after
    assert outside.commits == list(range(1, stop_after // SLICES_PER_EPOCH + 1)), "a finished epoch is kept before"
    assert outside.records + finish(trained) == finish(population(tiny_serial()))


def test_a_stop_that_comes_with_the_last_slice_comes_too_late() -> None:
    outside = Outside(stop_after=3 * SLICES_PER_EPOCH)
    assert train(population(tiny_serial()), outside, checkpoint_interval_s=1e9) is True
    assert outside.commits == [1, 2, 3]


def test_whoever_asked_for_the_stop_decides_about_a_checkpoint() -> None:
    outside = Outside(stop_after=3)
    train(population(tiny_serial()), outside, checkpoint_interval_s=0)
    assert len(outside.checkpoints) == 2, "after the two slices before, none for the stop itself"


def test_checkpoints_come_after_each_interval_of_training() -> None:
    outside = Outside()
    train(population(tiny_serial()), outside, checkpoint_interval_s=5, clock=ticking(1.0))
    # The clock is read once at the start, once a slice and once more at each checkpoint: one every five slices.
    assert len(outside.checkpoints) == 3 * SLICES_PER_EPOCH // 5
    assert outside.checkpoints == [0, 0, 1, 1, 2, 2, 2]


def test_a_finished_population_is_not_checkpointed() -> None:
    outside = Outside()
    train(population(tiny_serial()), outside, checkpoint_interval_s=0)
    assert len(outside.checkpoints) == 3 * SLICES_PER_EPOCH - 1
    assert outside.checkpoints[-1] == 2


def test_nothing_is_left_to_do_for_a_finished_population() -> None:
    trained, outside = population(tiny_serial()), Outside()
    finish(trained)
    assert train(trained, outside, checkpoint_interval_s=0) is True
    assert outside.slices == 0


def test_an_error_while_committing_ends_training() -> None:
    class Broken(Outside):
        def commit(self, records: list[EpochRecord]) -> None:
            raise OSError("no")

    outside = Broken()
    with pytest.raises(OSError, match="no"):
        train(population(tiny_serial()), outside, checkpoint_interval_s=1e9)
    assert outside.slices == SLICES_PER_EPOCH - 1
