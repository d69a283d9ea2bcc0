"""Where noisy layers draw from: streams that depend on base seed, seed and step, on nothing else."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from shared.catalog.modules import NoisyModule
from shared.seeds import stream_seed


class Noise:
    """One stream of one network, or of K stacked ones; members of a seed get the same draws.

    Args:
        seeds: the seed of each network.
        stacked: whether tensors have a first axis K; without it there is one seed.
    """

    def __init__(self, stream: str, seeds: Sequence[int], *, stacked: bool, device: torch.device) -> None:
        distinct = sorted(set(seeds))
        self.stream = stream
        self._generators = {seed: torch.Generator(device) for seed in distinct}
        self._source_K = torch.tensor([distinct.index(seed) for seed in seeds], device=device) if stacked else None

    def start_step(self, base_seed: int, step: int) -> None:
        """Put the stream where it stands for a training step, so that a resumed run repeats its draws."""
        for seed, generator in self._generators.items():
            generator.manual_seed(stream_seed(base_seed, seed, self.stream, step))

    def uniform_like(self, inputs: Tensor) -> Tensor:
        """Uniform draws in [0, 1) of the shape, type and device of `inputs`."""
        shape = inputs.shape if self._source_K is None else inputs.shape[1:]
        draws = [
            torch.rand(shape, generator=generator, dtype=inputs.dtype, device=inputs.device)
            for generator in self._generators.values()
        ]
        return draws[0] if self._source_K is None else torch.stack(draws)[self._source_K]


def attach_noise(
    layers: Iterable[nn.Module], seeds: Sequence[int], *, stacked: bool, device: torch.device
) -> list[Noise]:
    """Give every noisy layer its stream; layers of the same stream draw from it in turn."""
    streams: dict[str, Noise] = {}
    for layer in layers:
        if isinstance(layer, NoisyModule):
            if layer.stream not in streams:
                streams[layer.stream] = Noise(layer.stream, seeds, stacked=stacked, device=device)
            layer.noise = streams[layer.stream]
    return list(streams.values())
