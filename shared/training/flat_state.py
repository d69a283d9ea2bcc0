"""Weights and optimiser as one flat dictionary of tensors: what a checkpoint can hold without pickling anything."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def flatten(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights, running statistics and the optimiser's moments by name."""
    moments = {
        f"optimizer.{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if value is not None
    }
    return {**{f"network.{name}": value for name, value in network.state_dict().items()}, **moments}


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Undo `flatten`; names that it did not make are passed over.

    Raises: RuntimeError, ValueError: the state is that of another network.
    """
    weights = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
    network.load_state_dict(weights)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
