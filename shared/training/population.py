"""What an engine promises: networks that train together and hand out one record per network and epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Member:
    """One network of a population: its rate of dirt (0 is clean) and its seed."""

    rate: float
    seed: int


@dataclass(frozen=True)
class MemberFacts:
    """What is known of a member before it trains."""

    null_loss: float
    null_accuracy: float | None
    realised_rate: float
    mask_hash: str


@dataclass(frozen=True)
class EpochRecord:
    """What one member measured after one epoch (counted from 1); NaN and infinity are still numbers here.

    `train_*` are running means over the epoch in training mode, on the labels trained on; `*_a` are on the selection
    half of the validation set; `memorization` and `recovery` are on the corrupted training rows. None: does not apply.
    """

    member: int
    epoch: int
    train_loss: float
    val_loss: float
    train_accuracy: float | None
    val_accuracy: float | None
    val_loss_a: float
    val_accuracy_a: float | None
    memorization: float | None
    recovery: float | None
    diverged: bool


class Population(Protocol):
    """Networks in lockstep: all finish an epoch before any begins the next. Resumable between any two slices."""

    @property
    def members(self) -> Sequence[Member]:
        """The networks, in the order of the records' `member`."""
        ...

    @property
    def facts(self) -> Sequence[MemberFacts]:
        """What is known of each member before it trains."""
        ...

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train: all epochs are complete, or every member diverged."""
        ...

    def advance(self) -> list[EpochRecord] | None:
        """Train a slice of well under a second; the records of an epoch when the slice completes it, else None."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that training depends on from here on, as tensors."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken.

        Raises: KeyError, ValueError, RuntimeError: it belongs to another population.
        """
        ...
