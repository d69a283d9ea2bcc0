"""What populations whose members take every step together have in common; engines differ in how a step is taken.

Shape letters: K members, N rows, B batch, C outputs.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from shared.catalog.losses import LOSSES
from shared.seeds import numpy_stream
from shared.spec import ExperimentSpec
from shared.training.data import MemberData, batch_bounds, load_members
from shared.training.evaluation import memory_of
from shared.training.population import EpochRecord, Member, MemberFacts

SLICE_S = 0.2


class LockstepPopulation(ABC):
    """Members take every step together; an epoch ends for all of them at once."""

    def __init__(
        self, spec: ExperimentSpec, members: Sequence[Member], *, datasets_dir: Path, device: torch.device
    ) -> None:
        self.spec, self.members, self.device = spec, list(members), device
        self._data: list[MemberData] = list(load_members(spec, self.members, datasets_dir=datasets_dir, device=device))
        self.facts: list[MemberFacts] = [data.facts for data in self._data]
        self._loss = LOSSES[spec.training.loss](kind=spec.training.loss)
        self._bounds = batch_bounds(len(self._data[0].train_targets), spec.training.batch_size)
        self.epoch = self._step = 0
        self._diverged_K = torch.zeros(len(members), dtype=torch.bool)
        # Sums over the epoch so far: of the losses, of the right answers.
        self._sums_K2 = torch.zeros(len(members), 2, dtype=torch.float64, device=device)
        self._order: tuple[int, Tensor] | None = None
        # Batches between two looks at the clock.
        self._stride = 1

    @abstractmethod
    def _train(self, order_KN: Tensor, first: int, end: int, learning_rate: float) -> None:
        """Train batches `first` to `end` of the epoch and add to the sums."""

    @abstractmethod
    def _outputs(self, rows: Sequence[Tensor], members: Sequence[int]) -> list[Tensor]:
        """Outputs in evaluation mode, (N_k, C) for the rows (N_k, ...) of each of some members."""

    @abstractmethod
    def _are_finite(self) -> list[bool]:
        """Whether all weights of each member are."""

    @abstractmethod
    def _learned_state(self) -> dict[str, Tensor]:
        """Weights and what the optimiser remembers; the first axis is K wherever there is one."""

    @abstractmethod
    def _load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        """Undo `_learned_state`; names that it did not make are passed over."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train: all epochs are complete, or every member diverged."""
        return self.epoch == self.spec.training.epochs or bool(self._diverged_K.all())

    def advance(self) -> list[EpochRecord] | None:
        """Train a slice; the records when it completes the epoch."""
        assert not self.finished
        training = self.spec.training
        learning_rate = training.optimizer.lr * training.schedule.factor(self.epoch + 1, training.epochs)
        order_KN = self._shuffle()
        until = time.monotonic() + SLICE_S
        while self._step < len(self._bounds):
            self._train_stretch(order_KN, learning_rate)
            if time.monotonic() > until:
                break
        return self._end_epoch() if self._step == len(self._bounds) else None

    def _train_stretch(self, order_KN: Tensor, learning_rate: float) -> None:
        """Train as many batches in a row as fit a part of a slice, judged by how long the last ones took."""
        looked = time.monotonic()
        end = min(self._step + self._stride, len(self._bounds))
        self._train(order_KN, self._step, end, learning_rate)
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # the clock shall see the work, not its launch
        batch_s = (time.monotonic() - looked) / (end - self._step)
        self._stride = max(1, min(2 * self._stride, int(SLICE_S / 4 / max(batch_s, 1e-6))))
        self._step = end

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

    def _losses(self, outputs_KBC: Tensor, targets_KB: Tensor) -> Tensor:
        return self._loss.per_example(outputs_KBC.flatten(0, 1), targets_KB.flatten()).view(targets_KB.shape)

    def _end_epoch(self) -> list[EpochRecord]:
        num_rows = len(self._data[0].train_targets)
        trained_K2 = (self._sums_K2 / num_rows).tolist()
        alive = [k for k, diverged in enumerate(self._diverged_K.tolist()) if not diverged]
        validated = self._validate(alive)
        finite = self._are_finite()
        self.epoch, self._step, self._order = self.epoch + 1, 0, None
        self._sums_K2.zero_()
        memory = self._memory(alive)
        is_classification = self.spec.dataset.task == "classification"
        records = []
        for k, (val_loss, val_accuracy, val_loss_a, val_accuracy_a) in zip(alive, validated, strict=True):
            train_loss, num_correct = trained_K2[k]
            diverged = not (finite[k] and isfinite(train_loss) and isfinite(val_loss))
            self._diverged_K[k] = diverged
            memorization, recovery = memory.get(k, (None, None))
            records.append(
                EpochRecord(
                    member=k, epoch=self.epoch, train_loss=train_loss, val_loss=val_loss,
                    train_accuracy=num_correct if is_classification else None,
                    val_accuracy=val_accuracy if is_classification else None, val_loss_a=val_loss_a,
                    val_accuracy_a=val_accuracy_a if is_classification else None,
                    memorization=memorization, recovery=recovery, diverged=diverged,
                )
            )  # fmt: skip
        return records

    @torch.inference_mode()
    def _validate(self, alive: Sequence[int]) -> list[list[float]]:
        """Loss and accuracy of each member on all validation rows and on their first half, in this order."""
        outputs_KNC = torch.stack(self._outputs([self._data[k].val_inputs for k in alive], alive))
        targets_KN = torch.stack([self._data[k].val_targets for k in alive])
        losses_KN = self._losses(outputs_KNC, targets_KN).double()
        correct_KN = (outputs_KNC.argmax(dim=2) == targets_KN).double()
        half = targets_KN.shape[1] // 2
        means = [part.mean(dim=1) for part in (losses_KN, correct_KN, losses_KN[:, :half], correct_KN[:, :half])]
        rows: list[list[float]] = torch.stack([means[0], means[1], means[2], means[3]], dim=1).tolist()
        return rows

    @torch.inference_mode()
    def _memory(self, alive: Sequence[int]) -> dict[int, tuple[float | None, float | None]]:
        """Memorization and recovery of the members that have corrupted rows."""
        dirty = {k: corrupted for k in alive if (corrupted := self._data[k].corrupted) is not None}
        if not dirty:
            return {}
        outputs = self._outputs([corrupted.inputs for corrupted in dirty.values()], list(dirty))
        return {
            k: memory_of(outputs_NC, corrupted)
            for (k, corrupted), outputs_NC in zip(dirty.items(), outputs, strict=True)
        }

    def state(self) -> dict[str, Tensor]:
        """Everything that training depends on from here on; the first axis is K wherever there is one."""
        return {
            **self._learned_state(), "sums": self._sums_K2, "diverged": self._diverged_K,
            "epoch": torch.tensor(self.epoch), "step": torch.tensor(self._step),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        self._load_learned_state(state)
        self._sums_K2.copy_(state["sums"])
        self._diverged_K.copy_(state["diverged"])
        self.epoch, self._step = int(state["epoch"]), int(state["step"])
        self._order = None
