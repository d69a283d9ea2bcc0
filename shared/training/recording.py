"""Steps recorded once and replayed: on a GPU launching thousands of small kernels takes longer than computing them."""

from collections.abc import Callable
from typing import Protocol

import torch

WARM_UPS = 3


class Recorder(Protocol):
    """Turns a step into one that is cheaper to repeat."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Run the step a few times and return its replay, which reads and writes the same memory as the step."""
        ...


class CudaGraphs:
    """Records into CUDA graphs, as torch's notes on CUDA semantics describe."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay


def recorder_for(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where launching is cheap."""
    return CudaGraphs() if device.type == "cuda" else None
