"""An experiment's metrics, read from the store into the arrays that are analysed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row
from sqlalchemy.orm import Session

from shared.analysis.scores import Results, epochs_looked_at
from shared.spec import ExperimentSpec
from shared.store import repository
from shared.store.metrics import MetricsFilter, number_chunks
from shared.store.states import Outcome, RunState
from shared.store.tables import Experiment


def load_results(session: Session, experiment: Experiment, spec: ExperimentSpec, *, metric: str, score: str) -> Results:
    """All runs of an experiment as arrays; those of the other metric, and of epochs that the score passes over, NaN."""
    runs = repository.run_facts(session, experiment.id)
    place = _Place(spec, runs)
    names = [f"val_{metric}", f"val_{metric}_a"]
    measured = dict(zip(names, _columns(session, experiment.id, place, names, MetricsFilter()), strict=True))
    epochs = epochs_looked_at(score, spec.training.epochs)
    looked_at = MetricsFilter(rates=spec.rates[1:], epoch_from=epochs.start + 1, epoch_to=epochs.stop)
    memorization, recovery = _columns(session, experiment.id, place, ["memorization", "recovery"], looked_at)
    nothing = np.broadcast_to(np.nan, memorization.shape)
    return Results(
        activations=place.activations, rates=spec.rates, num_val=spec.dataset.val_size,
        loss_ARSE=measured.get("val_loss", nothing), accuracy_ARSE=measured.get("val_accuracy", nothing),
        loss_a_ARSE=measured.get("val_loss_a", nothing), accuracy_a_ARSE=measured.get("val_accuracy_a", nothing),
        null_loss_ARS=place.spread([run.null_loss for run in runs]),
        null_accuracy_ARS=place.spread([run.null_accuracy for run in runs]),
        complete_ARS=place.spread([run.state == RunState.SUCCEEDED for run in runs]) == 1,
        diverged_ARS=place.spread([run.outcome == Outcome.DIVERGED for run in runs]) == 1,
        num_measured_ARS=place.spread([run.epoch for run in runs]).astype(np.int64),
        memorization_ARSE=memorization, recovery_ARSE=recovery,
    )  # fmt: skip


class _Place:
    """Where the numbers of each run belong in arrays (activations, rates, seeds)."""

    def __init__(self, spec: ExperimentSpec, runs: Sequence[Row[*tuple[Any, ...]]]) -> None:
        self.activations = tuple(activation.name for activation in spec.activations)
        self.shape = (len(self.activations), len(spec.rates), spec.num_seeds)
        self.num_epochs = spec.training.epochs
        self.is_begun = any(run.epoch for run in runs)
        activation = {name: a for a, name in enumerate(self.activations)}
        rate = {rate: r for r, rate in enumerate(spec.rates)}
        index = [(activation[run.activation], rate[run.rate], run.seed) for run in runs]
        self._runs = np.ravel_multi_index(np.array(index).T, self.shape)
        self.by_position = np.zeros(max(run.position for run in runs) + 1, dtype=np.int64)
        self.by_position[[run.position for run in runs]] = self._runs

    def spread(self, values: Sequence[Any]) -> NDArray[np.float64]:
        """One value a run, in the order of the runs; NaN for None."""
        array = np.full(self.shape, np.nan)
        array.flat[self._runs] = np.array(values, dtype=np.float64)
        return array


def _columns(
    session: Session, experiment_id: str, place: _Place, names: Sequence[str], wanted: MetricsFilter
) -> list[NDArray[np.float64]]:
    """Columns of the metrics as arrays (activations, rates, seeds, epochs); NaN where there is no row."""
    columns = [np.full((*place.shape, place.num_epochs), np.nan) for _ in names]
    if not place.is_begun:
        return columns
    for chunk in number_chunks(session, experiment_id, names, wanted):
        position, epoch, *values = chunk.T
        index = place.by_position[position.astype(np.int64)] * place.num_epochs + epoch.astype(np.int64) - 1
        for column, part in zip(columns, values, strict=True):
            column.reshape(-1)[index] = part
    return columns
