"""The stacked engine: all members of a population are one tensor program, and no number crosses from one to another.

Shape letters: K members, U distinct arrays, N rows, B batch, C outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call

from shared.catalog.activations import Activation
from shared.catalog.layers import FEWEST_ROWS_EVALUATED
from shared.spec import ExperimentSpec
from shared.training.data import DTYPES, Preparation
from shared.training.flat_state import flatten, restore
from shared.training.lockstep import LockstepPopulation
from shared.training.network import build_network, parameter_groups
from shared.training.noise import attach_noise
from shared.training.population import Member
from shared.training.recording import Recorder, recorder_for
from shared.training.stacked_network import StackedNetwork


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


class StackedPopulation(LockstepPopulation):
    """One forward and one backward pass for all members; on a GPU recorded once for every size of batch."""

    def __init__(
        self,
        spec: ExperimentSpec,
        activation: Activation,
        members: Sequence[Member],
        *,
        datasets_dir: Path,
        device: torch.device,
    ) -> None:
        super().__init__(spec, members, datasets_dir=datasets_dir, device=device)
        self._recorder = recorder_for(device)
        self._replays: dict[tuple[int, ...], tuple[Tensor, Callable[[], None]]] = {}
        self._inputs = SharedRows([data.train_inputs for data in self._data])
        self._targets = SharedRows([data.train_targets for data in self._data])
        self._prepare: Preparation = self._data[0].prepare
        self._build_network(activation)

    def _build_network(self, activation: Activation) -> None:
        spec = self.spec
        layers = spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs)
        singles = {
            seed: build_network(layers, activation, base_seed=spec.base_seed, seed=seed)
            for seed in {member.seed for member in self.members}
        }
        stacked = StackedNetwork([singles[member.seed] for member in self.members])
        self.network = stacked.to(self.device, DTYPES[spec.training.precision])
        self.network.mixed_precision = spec.training.precision == "bfloat16"
        seeds = [member.seed for member in self.members]
        self._noise = attach_noise(self.network, seeds, stacked=True, device=self.device)
        optimizer = spec.training.optimizer
        self.optimizer = optimizer.build(parameter_groups(self.network, optimizer))
        if self._noise:
            self._recorder = None  # a recorded step would repeat its draws
        if self._recorder is not None:
            # What a replay shall see change has to lie in memory of the device; fused optimisers want it in float32.
            for group in self.optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=self.device)
                if "capturable" in group:
                    group["capturable"] = True

    def _train(self, order_KN: Tensor, first: int, end: int, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        for step in range(first, end):
            for noise in self._noise:
                noise.start_step(self.spec.base_seed, self.epoch * len(self._bounds) + step)
            start, stop = self._bounds[step]
            if self._recorder is None:
                self._train_batch(order_KN[:, start:stop])
            else:
                self._replay(order_KN[:, start:stop], self._recorder)

    def _replay(self, order_KB: Tensor, recorder: Recorder) -> None:
        shape = tuple(order_KB.shape)
        if shape not in self._replays:
            self._replays[shape] = self._record(order_KB.clone(), recorder)
        recorded_KB, replay = self._replays[shape]
        recorded_KB.copy_(order_KB)
        replay()

    def _record(self, order_KB: Tensor, recorder: Recorder) -> tuple[Tensor, Callable[[], None]]:
        """A step over the rows that then stand in the returned tensor; recording it trains, which is undone."""
        before = {name: value.clone() for name, value in self.state().items()}
        replay = recorder.record(lambda: self._train_batch(order_KB))
        for name, value in self.state().items():
            if name in before:
                value.copy_(before[name])
            else:
                value.zero_()  # what an optimiser makes with its first step starts from zeros
        return order_KB, replay

    def _train_batch(self, order_KB: Tensor) -> None:
        inputs, targets_KB = self._prepared(self._inputs.take(order_KB)), self._targets.take(order_KB)
        outputs_KBC = self.network(inputs)
        losses_KB = self._losses(outputs_KBC, targets_KB)
        self.optimizer.zero_grad(set_to_none=True)
        # The gradient of a sum of means is, for each member, that of its own mean.
        losses_KB.mean(dim=1).sum().backward()
        self.optimizer.step()
        self._sums_K2[:, 0] += losses_KB.detach().sum(dim=1)
        if not targets_KB.is_floating_point():
            self._sums_K2[:, 1] += (outputs_KBC.detach().argmax(dim=2) == targets_KB).sum(dim=1)

    def _prepared(self, rows_KB: Tensor) -> Tensor:
        prepared: Tensor = self._prepare(rows_KB.flatten(0, 1)).unflatten(0, rows_KB.shape[:2])
        return prepared

    def _outputs(self, rows: Sequence[Tensor], members: Sequence[int]) -> list[Tensor]:
        state = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        if len(members) < len(self.members):
            chosen = torch.tensor(members, device=self.device)
            state = {name: value[chosen] for name, value in state.items()}
        longest = max(len(of_member) for of_member in rows)
        chunk = max(FEWEST_ROWS_EVALUATED, self._data[0].rows_at_once // len(members))
        self.network.eval()
        outputs_KNC = torch.cat(
            [
                functional_call(self.network, state, (self._prepared(_stretch(rows, first, first + chunk, longest)),))
                for first in range(0, longest, chunk)
            ],
            dim=1,
        )
        self.network.train()
        return [outputs_KNC[k, : len(of_member)] for k, of_member in enumerate(rows)]

    def _are_finite(self) -> list[bool]:
        finite_K = torch.stack([p.flatten(1).isfinite().all(dim=1) for p in self.network.parameters()]).all(dim=0)
        return [bool(finite) for finite in finite_K.tolist()]

    def _learned_state(self) -> dict[str, Tensor]:
        return flatten(self.network, self.optimizer)

    def _load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        restore(self.network, self.optimizer, state)
        self._replays = {}  # they write to where the old state lay


def _stretch(rows: Sequence[Tensor], first: int, end: int, longest: int) -> Tensor:
    """The same stretch of each member's rows, (K, end - first, ...); a member that has fewer repeats its last row."""
    wanted = torch.arange(first, min(end, longest), device=rows[0].device)
    return torch.stack([of_member[wanted.clamp(max=len(of_member) - 1)] for of_member in rows])
