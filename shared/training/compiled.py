"""The compiled engine: C++ that trains one network after another, all of a network's numbers in the processor's cache.

A tensor program reads and writes memory for every operation of every network. Here the batch, the weights and their
gradients of a single small network stay in the cache from the first layer to the optimiser's step; that beats stacking.

Shape letters: K members, N rows, C outputs, P weights.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import getsourcefile
from pathlib import Path

import torch
from torch import Tensor

from shared.catalog import layers as described
from shared.catalog import modules
from shared.catalog.activations import Activation
from shared.catalog.layers import Layer
from shared.catalog.losses import LOSSES, CrossEntropy, Loss
from shared.catalog.optimizers import Adam, AdamW, Sgd
from shared.seeds import torch_stream
from shared.spec import ExperimentSpec
from shared.training import codegen
from shared.training.bindings import KINDS, NativeCode, NativeMember, NativeNetwork, Stretch
from shared.training.data import DTYPES
from shared.training.layout import Layout
from shared.training.lockstep import LockstepPopulation
from shared.training.network import build_network
from shared.training.population import Member
from shared.training.toolchain import CompilationError, Toolchain

DEFINES = {"float32": ("REAL=float",), "float64": ("REAL=double",), "bfloat16": ("REAL=float", "BFLOAT16")}


@dataclass(frozen=True)
class _Part:
    """One library: its name, what makes its source, and everything that this depends on."""

    name: str
    source: Callable[[], str]
    made_of: str


def _parts(spec: ExperimentSpec, activation: Activation) -> list[_Part]:
    """Of the network, of the activation, and of the loss unless that is cross-entropy, which the network knows."""
    parts = [
        _Part("network", lambda: '#include "network.cpp"\n', "network.cpp"),
        _Part(activation.kind, lambda: codegen.activation_code(activation.build()), _made_of(activation)),
    ]
    loss = LOSSES[spec.training.loss](kind=spec.training.loss)
    if not isinstance(loss, CrossEntropy):
        parts.append(_Part(loss.kind, lambda: codegen.loss_code(loss), _made_of(loss)))
    return parts


def load_code(spec: ExperimentSpec, activation: Activation, toolchain: Toolchain) -> NativeCode:
    """Everything that an experiment's activation needs, compiled where it is not there yet.

    Raises: CompilationError: a part of it cannot be had.
    """
    reason = why_not(spec, activation)
    if reason is not None:
        raise CompilationError(reason)
    defines = DEFINES[spec.training.precision]
    network, function, *losses = (
        toolchain.load(part.name, part.source, made_of=part.made_of, defines=defines)
        for part in _parts(spec, activation)
    )
    return NativeCode(network, function, losses[0] if losses else None)


def code_is_there(spec: ExperimentSpec, activation: Activation, toolchain: Toolchain) -> bool:
    """Whether nothing would have to be compiled."""
    return why_not(spec, activation) is None and all(
        toolchain.has(part.name, made_of=part.made_of, defines=DEFINES[spec.training.precision])
        for part in _parts(spec, activation)
    )


def why_not(spec: ExperimentSpec, activation: Activation) -> str | None:
    """What of a spec the compiled engine cannot do; None when it can do all."""
    if not isinstance(spec.training.optimizer, Adam | AdamW | Sgd):
        return f"the optimiser '{spec.training.optimizer.kind}' has no compiled form"
    if isinstance(activation.build(), modules.NoisyModule):
        return "random activations have no compiled form"
    layers = spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs)
    unknown = [type(layer).__name__ for layer in layers if not isinstance(layer, KINDS)]
    if unknown:
        return f"no compiled layer for {unknown[0]}"
    return _unfit_convolution(layers)


def _unfit_convolution(layers: Sequence[Layer]) -> str | None:
    learned = [layer for layer in layers if isinstance(layer, described.Linear | described.Conv2d)]
    for layer in learned[1:]:
        if isinstance(layer, described.Conv2d) and (layer.stride != 1 or layer.padding >= layer.kernel):
            return "a convolution that skips pixels must be the first layer"
    return None


def _made_of(entry: Activation | Loss) -> str:
    """Everything that generated code depends on: the entry, the Python that defines it, and torch's formulas."""
    files = {getsourcefile(module) for module in (type(entry), modules, codegen)}
    sources = [Path(file).read_text() for file in sorted(file for file in files if file)]
    parameters = entry.model_dump(mode="json", exclude={"label"})
    return "\0".join([json.dumps(parameters, sort_keys=True), torch.__version__, *sources])


class CompiledPopulation(LockstepPopulation):
    """Members one after another, each for a stretch of batches."""

    def __init__(
        self, spec: ExperimentSpec, activation: Activation, members: Sequence[Member], *,
        datasets_dir: Path, code: NativeCode,
    ) -> None:  # fmt: skip
        super().__init__(spec, members, datasets_dir=datasets_dir, device=torch.device("cpu"))
        layers = spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs)
        singles = {
            seed: build_network(layers, activation, base_seed=spec.base_seed, seed=seed)
            for seed in {member.seed for member in members}
        }
        self._layout = Layout(
            layers, spec.dataset.input_shape, next(iter(singles.values())),
            unit=code.unit, decay_activations=spec.training.optimizer.decay_activations,
        )  # fmt: skip
        dtype = DTYPES[spec.training.precision]
        self._weights_KP, self._running_KP = self._layout.rows([singles[member.seed] for member in members], dtype)
        self._moments_2KP = torch.zeros(2, *self._weights_KP.shape, dtype=dtype)
        self._dropouts = [place for place in self._layout.places if isinstance(place.layer, described.Dropout)]
        max_examples = max(end - first for first, end in self._bounds)
        self._network = NativeNetwork(code, self._layout, spec, self._data[0], max_examples=max_examples)
        starts = [first for first, _ in self._bounds]
        self._starts = torch.tensor([*starts, self._bounds[-1][1]])

    def _member(self, k: int, inputs: Tensor, *, order: Tensor | None = None) -> NativeMember:
        data = self._data[k]
        return NativeMember(
            weights=self._weights_KP[k].data_ptr(), running=self._running_KP[k].data_ptr(),
            first_moments=self._moments_2KP[0, k].data_ptr(), second_moments=self._moments_2KP[1, k].data_ptr(),
            inputs=inputs.data_ptr(), targets=data.train_targets.data_ptr(),
            order=None if order is None else order.data_ptr(), sums=self._sums_K2[k].data_ptr(),
        )  # fmt: skip

    def _train(self, order_KN: Tensor, first: int, end: int, learning_rate: float) -> None:
        steps_before = self.epoch * len(self._bounds)
        alive = [k for k, diverged in enumerate(self._diverged_K.tolist()) if not diverged]
        members = {k: self._member(k, self._data[k].train_inputs, order=order_KN[k]) for k in alive}
        # Without draws a member stays in the cache for many steps; draws are made for one step and shared by a seed.
        bounds = [(first, end)] if not self._dropouts else [(step, step + 1) for step in range(first, end)]
        for start, stop in bounds:
            stretch = Stretch(self._starts, start, stop, steps_before, learning_rate)
            drawn: dict[int, list[Tensor]] = {}
            for k, member in members.items():
                seed = self.members[k].seed
                if seed not in drawn:
                    drawn[seed] = self._draw(seed, start)
                self._network.train(member, stretch, drawn[seed])

    def _draw(self, seed: int, step: int) -> list[Tensor]:
        """The dropout draws of a step, as the other engines draw them."""
        if not self._dropouts:
            return []
        global_step = self.epoch * len(self._bounds) + step
        generator = torch_stream(self.spec.base_seed, seed, modules.Dropout.stream, global_step)
        first, end = self._bounds[step]
        return [
            torch.rand((end - first, *place.output), generator=generator, dtype=self._weights_KP.dtype)
            for place in self._dropouts
        ]

    def _outputs(self, rows: Sequence[Tensor], members: Sequence[int]) -> list[Tensor]:
        (width,) = self._layout.places[-1].output
        outputs = [torch.empty(len(of_member), width, dtype=self._weights_KP.dtype) for of_member in rows]
        for k, of_member, outputs_NC in zip(members, rows, outputs, strict=True):
            self._network.evaluate(self._member(k, of_member), outputs_NC)
        return outputs

    def _are_finite(self) -> list[bool]:
        return [bool(finite) for finite in self._weights_KP.isfinite().all(dim=1).tolist()]

    def _learned_state(self) -> dict[str, Tensor]:
        return {
            "weights": self._weights_KP, "running": self._running_KP,
            "first_moments": self._moments_2KP[0], "second_moments": self._moments_2KP[1],
        }  # fmt: skip

    def _load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        for name, own in self._learned_state().items():
            if state[name].shape != own.shape:
                raise ValueError(f"'{name}' has the shape {tuple(state[name].shape)} instead of {tuple(own.shape)}")
            own.copy_(state[name])
