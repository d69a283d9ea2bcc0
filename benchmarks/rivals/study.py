"""The study's loop, as a student writes it: Dataset, DataLoader, Adam, `loss.item()`, one network after another."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from benchmarks.rivals.cells import Cell, Outcome, Rows, adam_of
from benchmarks.rivals.networks import build_criterion, build_network
from shared.spec import ExperimentSpec

Batches = DataLoader[tuple[Tensor, Tensor]]


class RowsDataset(Dataset[tuple[Tensor, Tensor]]):
    """Rows that lie in memory as tensors."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]


def loaders(rows: Rows, batch_size: int) -> tuple[Batches, Batches]:
    """Shuffled training batches and validation batches."""
    train = RowsDataset(torch.from_numpy(rows.train_inputs), torch.from_numpy(rows.train_targets))
    val = RowsDataset(torch.from_numpy(rows.val_inputs), torch.from_numpy(rows.val_targets))
    return DataLoader(train, batch_size=batch_size, shuffle=True), DataLoader(val, batch_size=batch_size)


def train(spec: ExperimentSpec, cells: Sequence[Cell], rows: Sequence[Rows]) -> Outcome:
    """Train every cell on its rows."""
    return Outcome([_train_network(spec, cell, data) for cell, data in zip(cells, rows, strict=True)])


def _train_network(spec: ExperimentSpec, cell: Cell, rows: Rows) -> list[float]:
    torch.manual_seed(cell.seed)
    training, adam = spec.training, adam_of(spec)
    train_batches, val_batches = loaders(rows, training.batch_size)
    network, criterion = build_network(spec, cell.activation), build_criterion(spec)
    optimizer = torch.optim.Adam(network.parameters(), lr=adam.lr, betas=adam.betas, weight_decay=adam.weight_decay)
    scheduler = LambdaLR(optimizer, lambda epoch: training.schedule.factor(epoch + 1, training.epochs))
    val_losses = []
    for _ in range(training.epochs):
        _train_epoch(network, train_batches, criterion, optimizer)
        val_losses.append(_validate(network, val_batches, criterion))
        scheduler.step()
    return val_losses


def _train_epoch(network: nn.Module, batches: Batches, criterion: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    network.train()
    total, num_rows = 0.0, 0
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = criterion(network(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(targets)
        num_rows += len(targets)
    return total / num_rows


@torch.no_grad()
def _validate(network: nn.Module, batches: Batches, criterion: nn.Module) -> float:
    network.eval()
    total, num_rows = 0.0, 0
    for inputs, targets in batches:
        total += criterion(network(inputs), targets).item() * len(targets)
        num_rows += len(targets)
    return total / num_rows
