"""Initial weights: drawn once for a seed, then scaled as the initialisation says, so that activations share draws."""

from collections.abc import Callable, Sequence
from math import pi, prod, sqrt

import torch
from torch import Tensor, nn

from shared.catalog.activations import Activation
from shared.catalog.layers import Conv2d, Init, Layer, Linear
from shared.seeds import torch_stream


@torch.no_grad()
def initialise(
    network: nn.Sequential, layers: Sequence[Layer], activation: Activation, *, base_seed: int, seed: int
) -> None:
    """Draw weights and biases of the linear and convolutional layers; `network` holds a module for each layer."""
    weighted = [
        (layer, module)
        for layer, module in zip(layers, network, strict=True)
        if isinstance(layer, Linear | Conv2d) and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    gain = 1.0
    for index, (layer, module) in enumerate(weighted):
        # A stream for each layer: another width or depth leaves the layers before it as they were.
        generator = torch_stream(base_seed, seed, "weights", index)
        module.weight.copy_(WEIGHTS[layer.init](module.weight.shape, gain, generator))
        if module.bias is not None and layer.init == "torch_default":
            module.bias.copy_(_uniform(module.bias.shape, 1 / sqrt(_num_in(module.weight.shape)), generator))
        elif module.bias is not None:
            module.bias.zero_()
        # What enters the network has not been through the activation; what enters every later layer has.
        gain = variance_preserving_gain(activation) if layer.init == "variance_preserving" else 1.0


def variance_preserving_gain(activation: Activation) -> float:
    """1 / sqrt(E[f(z)^2]) for z ~ N(0, 1), by the trapezoid rule; a function that is 0 all over has no gain but 1."""
    z = torch.linspace(-10, 10, 40_001, dtype=torch.float64)
    module = activation.build().double().eval()
    with torch.no_grad():
        mean_square = torch.trapezoid(module(z).square() * torch.exp(-(z**2) / 2), z).item() / sqrt(2 * pi)
    return 1 / sqrt(mean_square) if mean_square > 1e-12 else 1.0


def _num_in(shape: torch.Size) -> int:
    return prod(shape[1:])


def _num_out(shape: torch.Size) -> int:
    return shape[0] * prod(shape[2:])


def _uniform(shape: torch.Size, bound: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound


def _normal(shape: torch.Size, sd: float, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64) * sd


def _orthogonal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Orthonormal rows, or columns where there are fewer of them, uniform over all such matrices."""
    flat = _normal(torch.Size((shape[0], _num_in(shape))), 1.0, generator)
    is_wide = flat.shape[0] < flat.shape[1]
    q, r = torch.linalg.qr(flat.T if is_wide else flat)
    q = q * r.diagonal().sign()
    rows: Tensor = q.T if is_wide else q
    return rows.reshape(shape)


# From a weight's shape, the gain of the function before the layer, and the layer's stream.
WEIGHTS: dict[Init, Callable[[torch.Size, float, torch.Generator], Tensor]] = {
    "torch_default": lambda shape, _, stream: _uniform(shape, 1 / sqrt(_num_in(shape)), stream),
    "glorot_standard": lambda shape, _, stream: _uniform(shape, 1 / sqrt(_num_in(shape)), stream),
    "glorot_normalized": lambda shape, _, stream: _uniform(shape, sqrt(6 / (_num_in(shape) + _num_out(shape))), stream),
    "he": lambda shape, _, stream: _normal(shape, sqrt(2 / _num_in(shape)), stream),
    "variance_preserving": lambda shape, gain, stream: _normal(shape, gain / sqrt(_num_in(shape)), stream),
    "orthogonal": lambda shape, _, stream: _orthogonal(shape, stream),
}
