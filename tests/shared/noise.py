"""Noise for layers that are tested by themselves."""

import torch
from torch import Tensor


class Draws:
    """The same numbers for the same seed, in the order in which they are asked for."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform_like(self, inputs: Tensor) -> Tensor:
        return torch.rand(inputs.shape, generator=self._generator, dtype=inputs.dtype)
