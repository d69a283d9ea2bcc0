"""`native/network.cpp` from Python: its structures, and a network built from a layout."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from shared.catalog import layers as described
from shared.catalog.layers import Shape
from shared.catalog.optimizers import Adam, AdamW, Optimizer, Sgd
from shared.spec import ExperimentSpec
from shared.training.data import MemberData
from shared.training.layout import Layout, Place

# In the order of C++'s `Kind`, and of its `Rule`.
KINDS = (
    described.Linear, described.Conv2d, described.BatchNorm, described.Activate, described.MaxPool2d,
    described.Flatten, described.Dropout,
)  # fmt: skip
ADAM, ADAMW, SGD, NESTEROV = range(4)


class _Structure(ctypes.Structure):
    _fields_: ClassVar[Any]


class Mix(_Structure):
    _fields_ = [("first", c_int32), ("second", c_int32), ("first_share", c_double), ("second_share", c_double)]


class LayerDescription(_Structure):
    _fields_ = [
        *((name, c_int64) for name in (
            "kind", "height", "width", "channels", "kernel", "step", "padding", "weight", "bias", "running_mean",
            "running_variance", "num_parameters",
        )),
        ("probability", c_double),
    ]  # fmt: skip


class InputDescription(_Structure):
    _fields_ = [
        *((name, c_int64) for name in ("height", "width", "channels", "stored_size")),
        ("scale", c_double), ("offset", c_double), ("mixes", POINTER(Mix)),
    ]  # fmt: skip


class ActivationCode(_Structure):
    _fields_ = [(name, c_void_p) for name in ("values", "values_and_slopes", "parameter_gradients")]


class OptimizerDescription(_Structure):
    _fields_ = [
        ("rule", c_int64), ("first_decay", c_double), ("second_decay", c_double), ("weight_decay", c_double),
        ("num_decayed", c_int64),
    ]  # fmt: skip


class NetworkDescription(_Structure):
    _fields_ = [
        ("input", InputDescription), ("layers", POINTER(LayerDescription)),
        *((name, c_int64) for name in ("num_layers", "max_examples", "num_weights")),
        ("activation", ActivationCode), ("loss", c_void_p), ("optimizer", OptimizerDescription),
    ]  # fmt: skip


class NativeMember(_Structure):
    """Pointers to the numbers of one network; whoever makes it keeps the tensors alive."""

    _fields_ = [
        (name, c_void_p)
        for name in ("weights", "first_moments", "second_moments", "running", "inputs", "targets", "order", "sums")
    ]


@dataclass(frozen=True)
class NativeCode:
    """Compiled code: `network.cpp`, the compared function, and a regression loss; None for cross-entropy."""

    network: ctypes.CDLL
    activation: ctypes.CDLL
    loss: ctypes.CDLL | None

    @property
    def unit(self) -> int:
        """Rows of weights are multiples of so many numbers."""
        return int(self.network.numbers_per_unit())


@dataclass(frozen=True)
class Stretch:
    """Batches `first` to `end` of an epoch; batch i is the rows from `bounds[i]` to `bounds[i + 1]` of the order."""

    bounds: Tensor
    first: int
    end: int
    steps_before: int
    learning_rate: float


class NativeNetwork:
    """The workspace of one network; the members of a population use it in turn.

    Args:
        data: of any member, for what all have in common.
        max_examples: of the largest batch.
    """

    def __init__(
        self, code: NativeCode, layout: Layout, spec: ExperimentSpec, data: MemberData, *, max_examples: int
    ) -> None:
        self._code = code  # it is called as long as this lives
        layers = (LayerDescription * len(layout.places))(*map(_described, layout.places))
        description = NetworkDescription(
            _input(spec.dataset.input_shape, data), layers, len(layers), max_examples, layout.weights.size,
            ActivationCode(*(_address(code.activation, name) for name, _ in ActivationCode._fields_)),
            None if code.loss is None else _address(code.loss, "loss"),
            _optimizer(spec.training.optimizer, layout.num_decayed),
        )  # fmt: skip
        code.network.network_new.restype = c_void_p
        for function in (code.network.network_train, code.network.network_evaluate):
            function.restype = c_bool
        self._network = c_void_p(code.network.network_new(ctypes.byref(description)))
        _check(self._network.value is not None)

    def __del__(self) -> None:
        if hasattr(self, "_network"):
            self._code.network.network_free(self._network)

    def train(self, member: NativeMember, stretch: Stretch, draws: Sequence[Tensor] = ()) -> None:
        """Train one network.

        Args:
            draws: for each dropout layer, uniform numbers of the shape of its input.
        """
        _check(self._code.network.network_train(
            self._network, ctypes.byref(member), c_void_p(stretch.bounds.data_ptr()), c_int64(stretch.first),
            c_int64(stretch.end), c_int64(stretch.steps_before), c_double(stretch.learning_rate),
            (c_void_p * len(draws))(*(draw.data_ptr() for draw in draws)),
        ))  # fmt: skip

    def evaluate(self, member: NativeMember, outputs_NC: Tensor) -> None:
        """Fill in the outputs of one network, in evaluation mode, for the first N of its rows."""
        _check(self._code.network.network_evaluate(
            self._network, ctypes.byref(member), c_int64(len(outputs_NC)), c_void_p(outputs_NC.data_ptr())
        ))  # fmt: skip


def _check(had_memory: bool) -> None:
    if not had_memory:
        raise MemoryError("there is too little memory for a network of this size and batch")


def _address(library: ctypes.CDLL, name: str) -> int | None:
    return ctypes.cast(getattr(library, name), c_void_p).value


def _described(place: Place) -> LayerDescription:
    shape = place.output if len(place.output) == 3 else (place.output[0], 1, 1)
    told = LayerDescription(
        kind=KINDS.index(type(place.layer)), height=shape[1], width=shape[2], channels=shape[0],
        weight=place.weight, bias=place.bias, running_mean=place.running_mean,
        running_variance=place.running_variance, num_parameters=place.num_parameters,
    )  # fmt: skip
    match place.layer:
        case described.Conv2d(kernel=kernel, stride=stride, padding=padding):
            told.kernel, told.step, told.padding = kernel, stride, padding
        case described.MaxPool2d(size=size):
            told.kernel = size
        case described.Dropout(p=p):
            told.probability = p
    return told


def _input(shape: Shape, data: MemberData) -> InputDescription:
    prepare, stored_size = data.prepare, data.train_inputs.shape[-1]
    if not prepare.is_image:
        return InputDescription(1, 1, shape[0], 0, 1.0, 0.0, None)
    channels, height, width = shape
    matrix = torch.eye(height) if prepare.resize_HW is None else prepare.resize_HW
    mixes = (Mix * height)(*(_mix(row) for row in matrix.double()))
    return InputDescription(height, width, channels, stored_size, prepare.scale, prepare.offset, mixes)


def _mix(shares: Tensor) -> Mix:
    """The two stored pixels that make one of a bilinear resize; the second may have no share."""
    largest = shares.topk(min(2, len(shares)))
    first, second = int(largest.indices[0]), int(largest.indices[-1])
    return Mix(first, second, float(shares[first]), float(shares[second]) if second != first else 0.0)


def _optimizer(optimizer: Optimizer, num_decayed: int) -> OptimizerDescription:
    match optimizer:
        case AdamW(betas=betas):
            return OptimizerDescription(ADAMW, *betas, optimizer.weight_decay, num_decayed)
        case Adam(betas=betas):
            return OptimizerDescription(ADAM, *betas, optimizer.weight_decay, num_decayed)
        case Sgd(momentum=momentum, nesterov=nesterov):
            rule = NESTEROV if nesterov else SGD
            return OptimizerDescription(rule, momentum, 0.0, optimizer.weight_decay, num_decayed)
    raise TypeError(f"{type(optimizer).__name__} has no compiled form")
