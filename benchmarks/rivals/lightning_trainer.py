"""Lightning's Trainer, as its documentation has it, with what costs time and is not needed here turned off."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.rivals.cells import Cell, Outcome, Rows, adam_of
from benchmarks.rivals.networks import build_criterion, build_network
from benchmarks.rivals.study import loaders
from shared.catalog.datasets.torchvision_sets import _import_datasets
from shared.spec import ExperimentSpec

_import_datasets()  # Lightning imports torchvision, which beside a CPU-only torch takes this
import lightning  # noqa: E402


class Module(lightning.LightningModule):
    """The network with its loss and optimiser."""

    def __init__(self, spec: ExperimentSpec, cell: Cell) -> None:
        super().__init__()
        self.network, self.criterion = build_network(spec, cell.activation), build_criterion(spec)
        self.adam = adam_of(spec)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        adam = self.adam
        return torch.optim.Adam(self.parameters(), lr=adam.lr, betas=adam.betas, weight_decay=adam.weight_decay)

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        loss: Tensor = self.criterion(self.network(inputs), targets)
        return loss


class ValLosses(lightning.Callback):
    """Keeps the validation loss of every epoch."""

    def __init__(self) -> None:
        self.kept: list[float] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        del pl_module
        self.kept.append(trainer.callback_metrics["val_loss"].item())


def train(spec: ExperimentSpec, cells: Sequence[Cell], rows: Sequence[Rows]) -> Outcome:
    """Train every cell on its rows."""
    assert spec.training.schedule.kind == "constant"
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends workers, which only slow down rows that lie in memory
        return Outcome([_train_network(spec, cell, data) for cell, data in zip(cells, rows, strict=True)])


def _train_network(spec: ExperimentSpec, cell: Cell, rows: Rows) -> list[float]:
    torch.manual_seed(cell.seed)
    train_batches, val_batches = loaders(rows, spec.training.batch_size)
    val_losses = ValLosses()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=spec.training.epochs,
        callbacks=[val_losses],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Module(spec, cell), train_batches, val_batches)
    return val_losses.kept
