"""The readable reference engine: one network at a time, in a tight loop over tensors in memory."""

import time
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.catalog.activations import Activation
from shared.catalog.losses import LOSSES, Loss
from shared.seeds import numpy_stream
from shared.spec import ExperimentSpec
from shared.training.data import DTYPES, MemberData, batch_bounds, load_members
from shared.training.evaluation import evaluate
from shared.training.flat_state import flatten, restore
from shared.training.network import build_network, parameter_groups
from shared.training.noise import attach_noise
from shared.training.population import EpochRecord, Member, MemberFacts

SLICE_S = 0.2
RECORD_FIELDS = (
    "train_loss", "val_loss", "train_accuracy", "val_accuracy",
    "val_loss_a", "val_accuracy_a", "memorization", "recovery",
)  # fmt: skip


class Trainee:
    """One network with its data and optimiser, and how far it is in the present epoch."""

    def __init__(
        self, spec: ExperimentSpec, activation: Activation, member: Member, data: MemberData, device: torch.device
    ) -> None:
        layers = spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs)
        network = build_network(layers, activation, base_seed=spec.base_seed, seed=member.seed)
        self.spec, self.member, self.data = spec, member, data
        self.network = network.to(device, DTYPES[spec.training.precision])
        self.network.mixed_precision = spec.training.precision == "bfloat16"
        self.noise = attach_noise(self.network, [member.seed], stacked=False, device=device)
        optimizer = spec.training.optimizer
        self.optimizer = optimizer.build(parameter_groups(self.network, optimizer))
        self.loss: Loss = LOSSES[spec.training.loss](kind=spec.training.loss)
        self.bounds = batch_bounds(len(data.train_targets), spec.training.batch_size)
        self.step = 0
        self.diverged = False
        # Sums over the epoch so far: of the losses, of the right answers.
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._shuffled: tuple[int, Tensor, Tensor] | None = None

    def train_slice(self, epoch: int, slice_s: float) -> bool:
        """Train batches of the epoch (from 1) for about `slice_s`; True once the epoch's last batch is done."""
        until = time.monotonic() + slice_s
        inputs, targets = self._shuffle(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(epoch)
        while self.step < len(self.bounds):
            first, end = self.bounds[self.step]
            self._train_batch(inputs[first:end], targets[first:end], (epoch - 1) * len(self.bounds) + self.step)
            self.step += 1
            if time.monotonic() > until:
                break
        return self.step == len(self.bounds)

    def _learning_rate(self, epoch: int) -> float:
        training = self.spec.training
        return training.optimizer.lr * training.schedule.factor(epoch, training.epochs)

    def _shuffle(self, epoch: int) -> tuple[Tensor, Tensor]:
        if self._shuffled is None or self._shuffled[0] != epoch:
            order = numpy_stream(self.spec.base_seed, self.member.seed, "batch_order", epoch)
            order_N = torch.from_numpy(order.permutation(len(self.data.train_targets))).to(self.sums.device)
            self._shuffled = (epoch, self.data.train_inputs[order_N], self.data.train_targets[order_N])
        return self._shuffled[1:]

    def _train_batch(self, rows: Tensor, targets_B: Tensor, global_step: int) -> None:
        for noise in self.noise:
            noise.start_step(self.spec.base_seed, global_step)
        outputs_BC = self.network(self.data.prepare(rows))
        losses_B = self.loss.per_example(outputs_BC, targets_B)
        self.optimizer.zero_grad(set_to_none=True)
        losses_B.mean().backward()
        self.optimizer.step()
        self.sums[0] += losses_B.detach().sum()
        if not targets_B.is_floating_point():
            self.sums[1] += (outputs_BC.detach().argmax(dim=1) == targets_B).sum()

    def finish_epoch(self, index: int, epoch: int) -> EpochRecord:
        """Evaluate after the epoch's last batch, and make ready for the next."""
        num_rows = len(self.data.train_targets)
        loss_sum, num_correct = self.sums.tolist()
        is_classification = not self.data.train_targets.is_floating_point()
        result = evaluate(self.network, self.data, self.loss)
        train_loss = loss_sum / num_rows
        weights_finite = all(bool(parameter.isfinite().all()) for parameter in self.network.parameters())
        self.diverged = not (weights_finite and isfinite(train_loss) and isfinite(result.val_loss))
        self.step, self._shuffled = 0, None
        self.sums.zero_()
        return EpochRecord(
            member=index, epoch=epoch, train_loss=train_loss,
            train_accuracy=num_correct / num_rows if is_classification else None,
            val_loss=result.val_loss, val_accuracy=result.val_accuracy, val_loss_a=result.val_loss_a,
            val_accuracy_a=result.val_accuracy_a, memorization=result.memorization, recovery=result.recovery,
            diverged=self.diverged,
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """Weights, optimiser and the sums of the epoch so far."""
        position = torch.tensor([self.step, int(self.diverged)])
        return {**flatten(self.network, self.optimizer), "sums": self.sums, "position": position}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        restore(self.network, self.optimizer, state)
        self.sums.copy_(state["sums"])
        self.step, diverged = state["position"].tolist()
        self.diverged, self._shuffled = bool(diverged), None


class SerialPopulation:
    """Members take turns: each trains its part of the epoch, then the next; an epoch ends with the last of them."""

    def __init__(
        self,
        spec: ExperimentSpec,
        activation: Activation,
        members: Sequence[Member],
        *,
        datasets_dir: Path,
        device: torch.device,
    ) -> None:
        self.spec, self.members = spec, list(members)
        data = load_members(spec, self.members, datasets_dir=datasets_dir, device=device)
        self._trainees = [
            Trainee(spec, activation, member, rows, device) for member, rows in zip(members, data, strict=True)
        ]
        self.facts: list[MemberFacts] = [trainee.data.facts for trainee in self._trainees]
        self.epoch = 0
        self._turn = 0
        self._records: list[EpochRecord] = []

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train: all epochs are complete, or every member diverged."""
        return self.epoch == self.spec.training.epochs or all(trainee.diverged for trainee in self._trainees)

    def advance(self) -> list[EpochRecord] | None:
        """Train a slice of the member whose turn it is; the records when that completes the epoch."""
        assert not self.finished
        trainee = self._trainees[self._turn]
        if not trainee.train_slice(self.epoch + 1, SLICE_S):
            return None
        self._records.append(trainee.finish_epoch(self._turn, self.epoch + 1))
        self._turn = self._next_turn(self._turn + 1)
        return self._end_epoch() if self._turn == len(self._trainees) else None

    def _next_turn(self, first: int) -> int:
        """The next member from `first` on that has not diverged; past the last one when there is none."""
        alive = (index for index in range(first, len(self._trainees)) if not self._trainees[index].diverged)
        return next(alive, len(self._trainees))

    def _end_epoch(self) -> list[EpochRecord]:
        records, self._records = self._records, []
        self.epoch, self._turn = self.epoch + 1, self._next_turn(0)
        return records

    def state(self) -> dict[str, Tensor]:
        """All members, whose turn it is, and the records of this epoch that are not handed out yet."""
        states = {
            f"{index}.{name}": value
            for index, trainee in enumerate(self._trainees)
            for name, value in trainee.state().items()
        }
        numbers = [_numbers(record) for record in self._records]
        records = torch.tensor(numbers, dtype=torch.float64).reshape(len(numbers), NUMBERS_PER_RECORD)
        return {**states, "position": torch.tensor([self.epoch, self._turn]), "records": records}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        for index, trainee in enumerate(self._trainees):
            prefix = f"{index}."
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            trainee.load_state(own)
        self.epoch, self._turn = state["position"].tolist()
        self._records = [_record(row, self.epoch + 1) for row in state["records"].tolist()]


NUMBERS_PER_RECORD = 2 + 2 * len(RECORD_FIELDS)


def _numbers(record: EpochRecord) -> list[float]:
    """A record as numbers: member, diverged, each field's value, and whether each field is absent."""
    values = [getattr(record, field) for field in RECORD_FIELDS]
    present = [float("nan") if value is None else value for value in values]
    return [record.member, record.diverged, *present, *(value is None for value in values)]


def _record(numbers: list[float], epoch: int) -> EpochRecord:
    member, diverged, *rest = numbers
    values, absent = rest[: len(RECORD_FIELDS)], rest[len(RECORD_FIELDS) :]
    fields: dict[str, Any] = {
        name: None if missing else value for name, value, missing in zip(RECORD_FIELDS, values, absent, strict=True)
    }
    return EpochRecord(member=int(member), epoch=epoch, diverged=bool(diverged), **fields)
