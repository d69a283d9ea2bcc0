"""The stacked engine: all members of a population are one tensor program, and no number crosses from one to another.

Shape letters: K members, U distinct arrays, N rows, B batch, C outputs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call

from shared.catalog.activations import Activation
from shared.catalog.layers import FEWEST_ROWS_EVALUATED
from shared.catalog.losses import LOSSES
from shared.seeds import numpy_stream
from shared.spec import ExperimentSpec
from shared.training.data import DTYPES, MemberData, Preparation, batch_bounds, load_members
from shared.training.evaluation import memory_of
from shared.training.flat_state import flatten, restore
from shared.training.network import build_network, parameter_groups
from shared.training.noise import attach_noise
from shared.training.population import EpochRecord, Member, MemberFacts
from shared.training.stacked_network import StackedNetwork

SLICE_S = 0.2


class SharedRows:
    """One array of rows a member, of which many are the same array: each distinct one is held once."""

    def __init__(self, rows: Sequence[Tensor]) -> None:
        distinct = {tensor.data_ptr(): tensor for tensor in rows}
        addresses = list(distinct)
        self.rows_UN = torch.stack(list(distinct.values()))
        self.source_K = torch.tensor(
            [addresses.index(tensor.data_ptr()) for tensor in rows], device=self.rows_UN.device
        )

    def take(self, order_KB: Tensor) -> Tensor:
        """The chosen rows of each member, (K, B, ...)."""
        return self.rows_UN[self.source_K[:, None], order_KB]

    def slice(self, first: int, end: int) -> Tensor:
        """The same rows of every member, (K, end - first, ...)."""
        return self.rows_UN[self.source_K, first:end]


class StackedPopulation:
    """Members take every step together; an epoch ends for all of them at once."""

    def __init__(
        self,
        spec: ExperimentSpec,
        activation: Activation,
        members: list[Member],
        *,
        datasets_dir: Path,
        device: torch.device,
    ) -> None:
        self.spec, self.members, self.device = spec, members, device
        self._data: list[MemberData] = list(load_members(spec, members, datasets_dir=datasets_dir, device=device))
        self.facts: list[MemberFacts] = [data.facts for data in self._data]
        self._inputs = SharedRows([data.train_inputs for data in self._data])
        self._targets = SharedRows([data.train_targets for data in self._data])
        self._val_inputs = SharedRows([data.val_inputs for data in self._data])
        self._val_targets = SharedRows([data.val_targets for data in self._data])
        self._prepare: Preparation = self._data[0].prepare
        self._loss = LOSSES[spec.training.loss](kind=spec.training.loss)
        self._build_network(activation)
        self._bounds = batch_bounds(len(self._data[0].train_targets), spec.training.batch_size)
        self.epoch = self._step = 0
        self._diverged_K = torch.zeros(len(members), dtype=torch.bool, device=device)
        # Sums over the epoch so far: of the losses, of the right answers.
        self._sums_2K = torch.zeros(2, len(members), dtype=torch.float64, device=device)
        self._order: tuple[int, Tensor] | None = None

    def _build_network(self, activation: Activation) -> None:
        spec = self.spec
        layers = spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs)
        singles = {
            seed: build_network(layers, activation, base_seed=spec.base_seed, seed=seed)
            for seed in {member.seed for member in self.members}
        }
        stacked = StackedNetwork([singles[member.seed] for member in self.members])
        self.network = stacked.to(self.device, DTYPES[spec.training.precision])
        seeds = [member.seed for member in self.members]
        self._noise = attach_noise(self.network, seeds, stacked=True, device=self.device)
        optimizer = spec.training.optimizer
        self.optimizer = optimizer.build(parameter_groups(self.network, optimizer))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train: all epochs are complete, or every member diverged."""
        return self.epoch == self.spec.training.epochs or bool(self._diverged_K.all())

    def advance(self) -> list[EpochRecord] | None:
        """Train a slice; the records when it completes the epoch."""
        assert not self.finished
        until = time.monotonic() + SLICE_S
        training = self.spec.training
        for group in self.optimizer.param_groups:
            group["lr"] = training.optimizer.lr * training.schedule.factor(self.epoch + 1, training.epochs)
        order_KN = self._shuffle()
        while self._step < len(self._bounds):
            first, end = self._bounds[self._step]
            self._train_batch(order_KN[:, first:end])
            self._step += 1
            if time.monotonic() > until:
                break
        return self._end_epoch() if self._step == len(self._bounds) else None

    def _shuffle(self) -> Tensor:
        """The epoch's order of rows, (K, N): the seed's, whatever the rate."""
        if self._order is None or self._order[0] != self.epoch:
            num_rows = len(self._data[0].train_targets)
            orders = {
                seed: torch.from_numpy(
                    numpy_stream(self.spec.base_seed, seed, "batch_order", self.epoch + 1).permutation(num_rows)
                )
                for seed in {member.seed for member in self.members}
            }
            order_KN = torch.stack([orders[member.seed] for member in self.members]).to(self.device)
            self._order = (self.epoch, order_KN)
        return self._order[1]

    def _train_batch(self, order_KB: Tensor) -> None:
        for noise in self._noise:
            noise.start_step(self.spec.base_seed, self.epoch * len(self._bounds) + self._step)
        inputs, targets_KB = self._prepared(self._inputs.take(order_KB)), self._targets.take(order_KB)
        outputs_KBC = self.network(inputs)
        losses_KB = self._losses(outputs_KBC, targets_KB)
        self.optimizer.zero_grad(set_to_none=True)
        # The gradient of a sum of means is, for each member, that of its own mean.
        losses_KB.mean(dim=1).sum().backward()
        self.optimizer.step()
        self._sums_2K[0] += losses_KB.detach().sum(dim=1)
        if not targets_KB.is_floating_point():
            self._sums_2K[1] += (outputs_KBC.detach().argmax(dim=2) == targets_KB).sum(dim=1)

    def _prepared(self, rows_KB: Tensor) -> Tensor:
        prepared: Tensor = self._prepare(rows_KB.flatten(0, 1)).unflatten(0, rows_KB.shape[:2])
        return prepared

    def _losses(self, outputs_KBC: Tensor, targets_KB: Tensor) -> Tensor:
        return self._loss.per_example(outputs_KBC.flatten(0, 1), targets_KB.flatten()).view(targets_KB.shape)

    def _end_epoch(self) -> list[EpochRecord]:
        num_rows = len(self._data[0].train_targets)
        train_loss, num_correct = (self._sums_2K / num_rows).tolist()
        was_diverged = self._diverged_K.tolist()
        val_loss, val_accuracy, val_loss_a, val_accuracy_a = self._validate()
        finite_K = torch.stack([p.flatten(1).isfinite().all(dim=1) for p in self.network.parameters()]).all(dim=0)
        self.epoch, self._step, self._order = self.epoch + 1, 0, None
        self._sums_2K.zero_()
        memory = self._memory()
        is_classification = self.spec.dataset.task == "classification"
        records = []
        for k, finite in enumerate(finite_K.tolist()):
            if was_diverged[k]:
                continue
            diverged = not (finite and isfinite(train_loss[k]) and isfinite(val_loss[k]))
            self._diverged_K[k] = diverged
            records.append(
                EpochRecord(
                    member=k, epoch=self.epoch, train_loss=train_loss[k], val_loss=val_loss[k],
                    train_accuracy=num_correct[k] if is_classification else None,
                    val_accuracy=val_accuracy[k] if is_classification else None, val_loss_a=val_loss_a[k],
                    val_accuracy_a=val_accuracy_a[k] if is_classification else None,
                    memorization=memory[k][0], recovery=memory[k][1], diverged=diverged,
                )
            )  # fmt: skip
        return records

    @torch.inference_mode()
    def _validate(self) -> tuple[list[float], list[float], list[float], list[float]]:
        """Loss and accuracy of each member on all validation rows and on their first half."""
        num_rows = len(self._data[0].val_targets)
        outputs_KNC = self._outputs(self._val_inputs.slice, num_rows)
        targets_KN = self._val_targets.slice(0, num_rows)
        losses_KN = self._losses(outputs_KNC, targets_KN).double()
        half = num_rows // 2
        correct_KN = (outputs_KNC.argmax(dim=2) == targets_KN).double()
        means = (
            losses_KN.mean(dim=1),
            correct_KN.mean(dim=1),
            losses_KN[:, :half].mean(dim=1),
            correct_KN[:, :half].mean(dim=1),
        )
        loss, accuracy, loss_a, accuracy_a = (mean.tolist() for mean in means)
        return loss, accuracy, loss_a, accuracy_a

    def _outputs(self, rows: Callable[[int, int], Tensor], num_rows: int, members: Tensor | None = None) -> Tensor:
        """Outputs in evaluation mode, (K, N, C), of all members or of some; `rows(first, end)` gives their rows."""
        state = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        if members is not None:
            state = {name: value[members] for name, value in state.items()}
        num_members = len(self.members) if members is None else len(members)
        chunk = max(FEWEST_ROWS_EVALUATED, self._data[0].rows_at_once // num_members)
        self.network.eval()
        outputs = [
            functional_call(self.network, state, (self._prepared(rows(first, min(first + chunk, num_rows))),))
            for first in range(0, num_rows, chunk)
        ]
        self.network.train()
        return torch.cat(outputs, dim=1)

    @torch.inference_mode()
    def _memory(self) -> list[tuple[float | None, float | None]]:
        """Memorization and recovery of each member on its corrupted rows."""
        found: list[tuple[float | None, float | None]] = [(None, None)] * len(self.members)
        dirty = {k: data.corrupted for k, data in enumerate(self._data) if data.corrupted is not None}
        if not dirty:
            return found
        # Members have different numbers of corrupted rows: the shorter ones repeat their first row up to the longest.
        longest = max(len(corrupted.targets) for corrupted in dirty.values())
        inputs = torch.stack([_repeat_first(corrupted.inputs, longest) for corrupted in dirty.values()])
        members = torch.tensor(list(dirty), device=self.device)
        outputs_KNC = self._outputs(lambda first, end: inputs[:, first:end], longest, members)
        for (k, corrupted), outputs_NC in zip(dirty.items(), outputs_KNC, strict=True):
            found[k] = memory_of(outputs_NC[: len(corrupted.targets)], corrupted)
        return found

    def state(self) -> dict[str, Tensor]:
        """Everything that training depends on from here on."""
        position = torch.tensor([self.epoch, self._step])
        return {
            **flatten(self.network, self.optimizer),
            "sums": self._sums_2K,
            "diverged": self._diverged_K,
            "position": position,
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        restore(self.network, self.optimizer, state)
        self._sums_2K.copy_(state["sums"])
        self._diverged_K.copy_(state["diverged"])
        self.epoch, self._step = state["position"].tolist()
        self._order = None


def _repeat_first(rows: Tensor, length: int) -> Tensor:
    return torch.cat([rows, rows[:1].expand(length - len(rows), *rows.shape[1:])])
