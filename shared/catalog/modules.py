"""Torch modules that torch lacks in the form needed here: their noise comes from a generator of their own.

This module imports torch, so the catalog imports it inside the functions that build networks only.
"""

from math import sqrt
from typing import Protocol

import torch
from torch import Tensor, nn


class NoiseSource(Protocol):
    """Where a noisy layer draws from."""

    def uniform_like(self, inputs: Tensor) -> Tensor:
        """Uniform draws in [0, 1) of the shape, type and device of `inputs`."""
        ...


class NoisyModule(nn.Module):
    """A module that draws random numbers while training, from `noise`, which the engine sets."""

    # Dropout masks are shared by all activations; noise of an activation must not shift them: separate streams.
    stream: str
    noise: NoiseSource


class Dropout(NoisyModule):
    """Inverted dropout (Srivastava et al. 2014) with probability `p` of zeroing."""

    stream = "dropout"

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return inputs
        keep = self.noise.uniform_like(inputs) >= self.p
        return inputs * keep / (1 - self.p)


class RReLU(NoisyModule):
    """Randomised leaky ReLU (Xu et al. 2015): the slope is drawn per element while training, their mean after."""

    stream = "activation_noise"

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            return nn.functional.leaky_relu(inputs, (self.lower + self.upper) / 2)
        slope = self.lower + (self.upper - self.lower) * self.noise.uniform_like(inputs)
        return torch.where(inputs >= 0, inputs, inputs * slope)


class Swish(nn.Module):
    """x * sigmoid(beta * x); beta is a parameter of the layer where it is learned."""

    def __init__(self, beta: float, *, learn_beta: bool) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), beta)) if learn_beta else beta

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * torch.sigmoid(self.beta * inputs)


class TanhExp(nn.Module):
    """x * tanh(exp(x))."""

    # From here on tanh(exp(x)) is 1 in every precision; exp(x) would overflow, and the gradient become 0 * inf.
    SATURATED = 4.0

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * torch.tanh(torch.exp(inputs.clamp_max(self.SATURATED)))


class Serf(nn.Module):
    """x * erf(softplus(x))."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * torch.erf(nn.functional.softplus(inputs))


class LiSHT(nn.Module):
    """x * tanh(x)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * torch.tanh(inputs)


class Isru(nn.Module):
    """x / sqrt(1 + alpha * x^2)."""

    # From here on, in units of 1 / sqrt(alpha), the function is flat in every precision; x^2 would overflow at last.
    SATURATED = 1e8

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.saturated = self.SATURATED / sqrt(alpha)

    def forward(self, inputs: Tensor) -> Tensor:
        within = inputs.clamp_min(-self.saturated).clamp_max(self.saturated)
        return within * torch.rsqrt(1 + self.alpha * within.square())


class Isrlu(Isru):
    """x above zero, else x / sqrt(1 + alpha * x^2)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.clamp_min(0) + super().forward(inputs.clamp_max(0))


class LeCunTanh(nn.Module):
    """1.7159 * tanh(2 * x / 3)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(inputs * (2 / 3))


class Arctan(nn.Module):
    """arctan(x)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.atan(inputs)


class Asinh(nn.Module):
    """asinh(x)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.asinh(inputs)


class Sine(nn.Module):
    """sin(omega * x)."""

    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sin(self.omega * inputs)


class Snake(nn.Module):
    """x + sin(alpha * x)^2 / alpha."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + torch.sin(self.alpha * inputs).square() / self.alpha


class SquaredReLU(nn.Module):
    """max(0, x)^2."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.clamp_min(0).square()
