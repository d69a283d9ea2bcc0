"""Steps recorded once and replayed: on a GPU launching thousands of small kernels takes longer than computing them."""

from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch

WARM_UPS = 3


class Recorder(Protocol):
    """Turns a step into one that is cheaper to repeat."""

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        """Run the step a few times and return its replay, which reads and writes the same memory as the step."""
        ...


class CudaGraphs:
    """Records into CUDA graphs, as torch's notes on CUDA semantics describe.

    All graphs of a process share one pool of memory: they are replayed one after another, and nothing in it has to
    outlive a replay. With a pool for each, halving a population would save nothing.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        return graph.replay


@cache
def recorder_for(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where launching is cheap."""
    return CudaGraphs() if device.type == "cuda" else None
