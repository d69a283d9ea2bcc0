"""A tight loop over tensors in memory: no DataLoader, one permutation an epoch, fused Adam, no `.item()` in between."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.rivals.cells import Cell, Outcome, Rows, adam_of
from benchmarks.rivals.networks import build_criterion, build_network
from shared.spec import ExperimentSpec

VAL_ROWS_AT_ONCE = 1000
# Slices of a shuffled copy are cheaper than picking each batch's rows; a copy of half a gigabyte of images is not.
MOST_BYTES_SHUFFLED_AT_ONCE = 64 * 2**20


def train(spec: ExperimentSpec, cells: Sequence[Cell], rows: Sequence[Rows]) -> Outcome:
    """Train every cell on its rows."""
    return Outcome([_train_network(spec, cell, data) for cell, data in zip(cells, rows, strict=True)])


def _train_network(spec: ExperimentSpec, cell: Cell, rows: Rows) -> list[float]:
    torch.manual_seed(cell.seed)
    training, adam = spec.training, adam_of(spec)
    inputs, targets = torch.from_numpy(rows.train_inputs), torch.from_numpy(rows.train_targets)
    network, criterion = build_network(spec, cell.activation), build_criterion(spec)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=adam.lr, betas=adam.betas, weight_decay=adam.weight_decay, fused=True
    )
    val_losses = []
    for epoch in range(1, training.epochs + 1):
        optimizer.param_groups[0]["lr"] = adam.lr * training.schedule.factor(epoch, training.epochs)
        network.train()
        for batch, wanted in _shuffled_batches(inputs, targets, training.batch_size):
            loss = criterion(network(batch), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        val_losses.append(_validate(network, rows, criterion))
    return [float(loss) for loss in val_losses]


def _shuffled_batches(inputs: Tensor, targets: Tensor, batch_size: int) -> Iterable[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(targets))
    if inputs.nbytes <= MOST_BYTES_SHUFFLED_AT_ONCE:
        return zip(inputs[order].split(batch_size), targets[order].split(batch_size), strict=True)
    batches = order.split(batch_size)
    return ((inputs.index_select(0, batch), targets.index_select(0, batch)) for batch in batches)


@torch.inference_mode()
def _validate(network: nn.Module, rows: Rows, criterion: nn.Module) -> Tensor:
    network.eval()
    inputs, targets = torch.from_numpy(rows.val_inputs), torch.from_numpy(rows.val_targets)
    parts = zip(inputs.split(VAL_ROWS_AT_ONCE), targets.split(VAL_ROWS_AT_ONCE), strict=True)
    losses = [criterion(network(part), wanted) * (len(part) / len(inputs)) for part, wanted in parts]
    return torch.stack(losses).sum()
