"""Learning-rate schedules: a factor for each epoch."""

from math import cos, pi
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.catalog.base import Entry, family, one_of


class Schedule(Entry):
    """The learning rate of an epoch is the optimiser's `lr` times `factor`."""

    def factor(self, epoch: int, num_epochs: int) -> float:
        """Factor for the epoch, counted from 1."""
        raise NotImplementedError


class Constant(Schedule):
    title, formula, source = "Constant", "factor = 1", "no schedule"
    kind: Literal["constant"] = "constant"

    def factor(self, epoch: int, num_epochs: int) -> float:  # noqa: ARG002 (the same for every epoch)
        return 1.0


class Step(Schedule):
    title, formula = "Step", "factor = gamma^floor((epoch - 1) / step_size)"
    source = "torch.optim.lr_scheduler.StepLR, stepped after each epoch"
    kind: Literal["step"] = "step"
    step_size: Annotated[int, Field(ge=1, le=10_000, description="Epochs between two steps.")] = 2
    gamma: Annotated[float, Field(gt=0, le=1, description="Factor of each step.")] = 0.7

    def factor(self, epoch: int, num_epochs: int) -> float:  # noqa: ARG002 (the same for any number)
        return float(self.gamma ** ((epoch - 1) // self.step_size))


class Cosine(Schedule):
    title = "Cosine"
    formula = "factor = min_factor + (1 - min_factor) (1 + cos(pi (epoch - 1) / epochs)) / 2"
    source = "Loshchilov & Hutter 2017, SGDR: stochastic gradient descent with warm restarts (one cycle)"
    kind: Literal["cosine"] = "cosine"
    min_factor: Annotated[float, Field(ge=0, lt=1, description="Factor that the schedule ends at.")] = 0.0

    def factor(self, epoch: int, num_epochs: int) -> float:
        return self.min_factor + (1 - self.min_factor) * (1 + cos(pi * (epoch - 1) / num_epochs)) / 2


SCHEDULES = family(Schedule)
if TYPE_CHECKING:
    AnySchedule = Schedule
else:
    AnySchedule = one_of(Schedule, "schedule")
