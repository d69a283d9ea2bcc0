"""A population in parts: as many members at once as a device holds, fewer when its memory turns out too small."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog
import torch
from torch import Tensor

from shared.training.lockstep import LockstepPopulation
from shared.training.population import EpochRecord, Member, MemberFacts

log = structlog.get_logger(__name__)

Build = Callable[[Sequence[Member]], LockstepPopulation]


class DividedPopulation:
    """Parts take turns: each trains its part of the epoch, then the next; an epoch ends with the last of them.

    Where the device's memory is too small for a part, all parts are halved and go on from the end of the last epoch.
    That is also what `state` holds: in the middle of an epoch the parts are not at one point.

    Args:
        build: makes a population of some members.
        size: most members of a part.
    """

    def __init__(self, build: Build, members: Sequence[Member], *, size: int) -> None:
        self.members = list(members)
        self._build = build
        self._turn = 0
        self._records: list[EpochRecord] = []
        self._parts: list[LockstepPopulation] = []
        self._size = size
        self._divide()
        self.facts: list[MemberFacts] = [fact for part in self._parts for fact in part.facts]
        self.epoch = 0
        self._at_epoch_end: dict[str, Tensor] = {}

    def _divide(self) -> None:
        """Build all parts, in half the size until there is memory for them."""
        while True:
            # The old parts go before the new ones come: there may be too little memory for both.
            self._parts = []
            try:
                starts = range(0, len(self.members), self._size)
                self._parts = [self._build(self.members[first : first + self._size]) for first in starts]
            except torch.OutOfMemoryError as error:
                self._halve(error)
            else:
                return

    def _halve(self, error: torch.OutOfMemoryError) -> None:
        if self._size == 1:
            raise error
        self._size = (self._size + 1) // 2
        log.warning("too little memory on the device, smaller populations", size=self._size)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train: all epochs are complete, or every member diverged."""
        return not self._records and all(part.finished for part in self._parts)

    def advance(self) -> list[EpochRecord] | None:
        """Train a slice of the part whose turn it is; the records when that completes the epoch."""
        try:
            return self._advance()
        except torch.OutOfMemoryError as error:
            self._halve(error)
        self._divide()
        self._go_on_from(self._at_epoch_end)
        return None

    def _advance(self) -> list[EpochRecord] | None:
        part = self._parts[self._turn]
        records = part.advance()
        if records is None:
            return None
        first = self._turn * self._size
        self._records += [replace(record, member=first + record.member) for record in records]
        self._turn = self._next_turn(self._turn + 1)
        return self._end_epoch() if self._turn == len(self._parts) else None

    def _next_turn(self, first: int) -> int:
        """The next part from `first` on that is not finished; past the last one when there is none."""
        waiting = (index for index in range(first, len(self._parts)) if not self._parts[index].finished)
        return next(waiting, len(self._parts))

    def _end_epoch(self) -> list[EpochRecord]:
        records, self._records = self._records, []
        self.epoch, self._turn = self.epoch + 1, self._next_turn(0)
        self._at_epoch_end = _merged([part.state() for part in self._parts])
        return records

    def state(self) -> dict[str, Tensor]:
        """All members as they were at the end of the last epoch; nothing but the size of parts before the first."""
        return {**self._at_epoch_end, "size": torch.tensor(self._size)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken, in parts of the same size."""
        size, learned = int(state["size"]), {name: value for name, value in state.items() if name != "size"}
        if size != self._size:
            self._size = size
            self._divide()
        self._go_on_from(learned)

    def _go_on_from(self, state: Mapping[str, Tensor]) -> None:
        self._at_epoch_end = dict(state)
        self.epoch = int(state["epoch"]) if state else 0
        if state:
            for index, part in enumerate(self._parts):
                first = index * self._size
                part.load_state(_of_members(state, first, first + self._size))
        self._records, self._turn = [], self._next_turn(0)


def _merged(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The state of all members, in main memory; of single numbers the largest: only diverged parts lag behind."""
    merged = {}
    for name, value in states[0].items():
        values = [state[name].detach().cpu() for state in states]
        merged[name] = torch.cat(values) if value.dim() > 0 else torch.stack(values).amax()
    return merged


def _of_members(state: Mapping[str, Tensor], first: int, end: int) -> dict[str, Tensor]:
    """A copy for the members of a part: an optimiser goes on writing to what it is given."""
    return {name: (value[first:end] if value.dim() > 0 else value).clone() for name, value in state.items()}
