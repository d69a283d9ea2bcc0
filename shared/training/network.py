"""A network from its layers: every random number comes from a stream that knows neither activation nor rate."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from shared.catalog import layers as described
from shared.catalog import modules
from shared.catalog.activations import Activation
from shared.catalog.layers import Layer
from shared.catalog.optimizers import Optimizer
from shared.training.initialisation import initialise


class Layers(nn.Sequential):
    """Layers after each other, and which of them are activations.

    With `mixed_precision` products of matrices and convolutions take bfloat16 operands; what comes out of each layer
    has the inputs' precision again.
    """

    mixed_precision = False

    def __init__(self, built: Sequence[nn.Module], activations: Sequence[nn.Module]) -> None:
        super().__init__(*built)
        self.activation_modules = list(activations)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = inputs
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            for layer in self:
                outputs = layer(outputs).to(inputs.dtype)
        return outputs


class Network(Layers):
    """One network."""


def build_network(layers: Sequence[Layer], activation: Activation, *, base_seed: int, seed: int) -> Network:
    """Build and initialise a network in float64, from the seed's stream of weights."""
    activations: list[nn.Module] = []
    built: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, described.Activate):
            activations.append(activation.build())
            built.append(activations[-1])
        else:
            built.append(_build_layer(layer))
    network = Network(built, activations).double()
    initialise(network, layers, activation, base_seed=base_seed, seed=seed)
    return network


def _build_layer(layer: Layer) -> nn.Module:
    match layer:
        case described.Linear():
            return nn.Linear(layer.num_in, layer.num_out, bias=layer.bias)
        case described.Conv2d():
            return nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding, bias=layer.bias
            )
        case described.BatchNorm():
            return _AnyBatchNorm(layer.num_features)
        case described.MaxPool2d():
            return nn.MaxPool2d(layer.size)
        case described.Dropout():
            return modules.Dropout(layer.p)
        case described.Flatten():
            return nn.Flatten()
    raise TypeError(f"no module is known for {type(layer).__name__}")


class _AnyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over (B, F) and (B, C, H, W) alike; torch has a class for each."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 (torch's own name)
        assert input.dim() in {2, 4}


class HasActivations(Protocol):
    """A network, single or stacked, that knows its activations."""

    activation_modules: list[nn.Module]

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters."""
        ...


def parameter_groups(network: HasActivations, optimizer: Optimizer) -> list[dict[str, Any]]:
    """All parameters with their weight decay; what activations learn is spared unless the spec says otherwise."""
    learned = [parameter for module in network.activation_modules for parameter in module.parameters()]
    spared = {id(parameter) for parameter in learned} if not optimizer.decay_activations else set()
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in spared], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in network.parameters() if id(p) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
