"""Torch modules that torch lacks in the form needed here: their noise comes from a generator of their own.

This module imports torch, so the catalog imports it inside the functions that build networks only.
"""

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
