"""The training loop of a job: slices of training, records out, checkpoints now and then, until done or told to stop."""

import time
from collections.abc import Callable
from typing import Protocol

from shared.training.population import EpochRecord, Population


class Outside(Protocol):
    """What the loop needs from whoever runs it."""

    def stop_requested(self) -> bool:
        """Asked after each slice of well under a second."""
        ...

    def commit(self, records: list[EpochRecord]) -> None:
        """Keep the records of an epoch."""
        ...

    def checkpoint(self, population: Population) -> None:
        """Keep the population's state."""
        ...


def train(
    population: Population,
    outside: Outside,
    *,
    checkpoint_interval_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Train to the end, or until a stop is requested; True when nothing is left to train.

    A stop leaves the population between two slices: whoever asked decides whether to keep its state.
    """
    saved_at = clock()
    while not population.finished:
        records = population.advance()
        if records:
            outside.commit(records)
        if outside.stop_requested():
            return population.finished
        if clock() - saved_at >= checkpoint_interval_s and not population.finished:
            outside.checkpoint(population)
            saved_at = clock()
    return True
