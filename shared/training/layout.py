"""Where each weight of a compiled network lies: one flat row of numbers a network.

Shape letters: K networks, P numbers of a row, I and O channels in and out, H W pixels of a kernel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from shared.catalog import layers as described
from shared.catalog.layers import Layer, Shape
from shared.training.network import Network

View = Callable[[Tensor], Tensor]


@dataclass
class Row:
    """Numbers side by side in multiples of `unit`; `views` shows parts of rows (..., P) in torch's shapes."""

    unit: int
    size: int = 0
    views: dict[str, View] = field(default_factory=dict)

    def add(self, name: str, shape: tuple[int, ...], in_torch_order: View) -> int:
        """Make room for an array, its last axis padded to whole units; where it starts."""
        start = self.size
        *leading, last = shape
        padded = self.padded(last)
        self.size += prod(leading) * padded
        end = self.size

        def view(rows: Tensor) -> Tensor:
            return in_torch_order(rows[..., start:end].unflatten(-1, (*leading, padded))[..., :last])

        self.views[name] = view
        return start

    def padded(self, count: int) -> int:
        """The count rounded up to whole units."""
        return -(-count // self.unit) * self.unit


@dataclass(frozen=True)
class Place:
    """A layer, the shape of its output, and where its numbers start; -1 where it has none."""

    layer: Layer
    output: Shape
    weight: int = -1
    bias: int = -1
    running_mean: int = -1
    running_variance: int = -1
    num_parameters: int = 0


class Layout:
    """The weights and running statistics of a network as two rows.

    Args:
        template: a network of these layers, for the names and shapes of what it learns.
        unit: rows of numbers are multiples of it.
        decay_activations: whether weight decay also takes hold of what activations learn.
    """

    def __init__(
        self, layers: Sequence[Layer], input_shape: Shape, template: Network, *, unit: int, decay_activations: bool
    ) -> None:
        self.weights, self.running = Row(unit), Row(unit)
        self.places: list[Place] = []
        shape = input_shape
        for index, layer in enumerate(layers):
            shape = layer.output_shape(shape)
            self.places.append(self._place(index, layer, shape))
        self.num_decayed = self.weights.size
        self._place_activations(template)
        if decay_activations:
            self.num_decayed = self.weights.size

    def _place(self, index: int, layer: Layer, output: Shape) -> Place:
        weights = self.weights
        match layer:
            case described.Linear():
                weight = weights.add(f"{index}.weight", (layer.num_in, layer.num_out), lambda io: io.transpose(-1, -2))
                bias = weights.add(f"{index}.bias", (layer.num_out,), _as_it_is) if layer.bias else -1
                return Place(layer, output, weight, bias)
            case described.Conv2d():
                shape = (layer.kernel, layer.kernel, layer.in_channels, layer.out_channels)
                weight = weights.add(f"{index}.weight", shape, lambda hwio: hwio.movedim((-1, -2), (-4, -3)))
                bias = weights.add(f"{index}.bias", (layer.out_channels,), _as_it_is) if layer.bias else -1
                return Place(layer, output, weight, bias)
            case described.BatchNorm():
                names = (f"{index}.weight", f"{index}.bias")
                scale, shift = (weights.add(name, (layer.num_features,), _as_it_is) for name in names)
                names = (f"{index}.running_mean", f"{index}.running_var")
                mean, variance = (self.running.add(name, (layer.num_features,), _as_it_is) for name in names)
                return Place(layer, output, scale, shift, mean, variance)
        return Place(layer, output)

    def _place_activations(self, template: Network) -> None:
        """What activations learn comes last: it has a weight decay of its own."""
        for index, place in enumerate(self.places):
            parameters = list(template[index].named_parameters())
            if not isinstance(place.layer, described.Activate) or not parameters:
                continue
            name, _ = parameters[0]
            start = self.weights.add(f"{index}.{name}", (len(parameters),), _as_it_is)
            self.weights.views.pop(f"{index}.{name}")
            for k, (name, parameter) in enumerate(parameters):
                self.weights.views[f"{index}.{name}"] = _single(start + k, parameter.shape)
            self.places[index] = Place(place.layer, place.output, start, num_parameters=len(parameters))

    def rows(self, networks: Sequence[nn.Module], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weights and running statistics of networks, each (K, P)."""
        filled = []
        for row in (self.weights, self.running):
            rows_KP = torch.zeros(len(networks), row.size, dtype=dtype)
            for k, network in enumerate(networks):
                self._fill(row, rows_KP[k], network.state_dict())
            filled.append(rows_KP)
        return filled[0], filled[1]

    @staticmethod
    def _fill(row: Row, numbers_P: Tensor, state: Mapping[str, Tensor]) -> None:
        for name, view in row.views.items():
            view(numbers_P).copy_(state[name])


def _as_it_is(rows: Tensor) -> Tensor:
    return rows


def _single(position: int, shape: torch.Size) -> View:
    return lambda rows: rows[..., position : position + 1].reshape((*rows.shape[:-1], *shape))
