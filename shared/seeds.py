"""Named random streams: everything random is a function of (base_seed, seed, stream), never of what is compared.

A stream starts at `sha256(base_seed, seed, stream)`. Two streams share no state, so that drawing more
from one (another corruption, another layer) never shifts another.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# A fixed split belongs to the experiment, not to a seed: it is drawn with this in the seed's place.
NO_SEED = -1


def stream_seed(base_seed: int, seed: int, *stream: str | int) -> int:
    """A 63-bit seed for the stream of that name, e.g. `stream_seed(0, 3, "batch_order", epoch)`."""
    text = "/".join(str(part) for part in (base_seed, seed, *stream))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(base_seed: int, seed: int, *stream: str | int) -> np.random.Generator:
    """A NumPy generator (PCG64) at the start of the stream of that name."""
    return np.random.default_rng(stream_seed(base_seed, seed, *stream))


def torch_stream(base_seed: int, seed: int, *stream: str | int) -> "torch.Generator":
    """A CPU torch generator at the start of the stream of that name."""
    import torch

    return torch.Generator().manual_seed(stream_seed(base_seed, seed, *stream))
