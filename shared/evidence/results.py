"""An experiment's metrics, read from the store into the arrays that are analysed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row
from sqlalchemy.orm import Session

from shared.analysis.scores import Results, epochs_looked_at
from shared.analysis.statistics import Array
from shared.spec import ExperimentSpec
from shared.store import repository
from shared.store.metrics import MetricsFilter, number_chunks
from shared.store.states import Outcome, RunState
from shared.store.tables import Experiment


def load_results(session: Session, experiment: Experiment, spec: ExperimentSpec, *, metric: str, score: str) -> Results:
    """All runs of an experiment as arrays; those of the other metric, and of epochs that the score passes over, NaN."""
    runs = repository.run_facts(session, experiment.id)
    place = _Place(spec, runs)
    measured = _columns(session, experiment.id, place, [f"val_{metric}", f"val_{metric}_a"], MetricsFilter())
    epochs = epochs_looked_at(score, spec.training.epochs)
    looked_at = MetricsFilter(rates=spec.rates[1:], epoch_from=epochs.start + 1, epoch_to=epochs.stop)
    memory = _columns(session, experiment.id, place, ["memorization", "recovery"], looked_at)
    return _arranged(spec, runs, place, measured | memory)


def load_scores(session: Session, experiment: Experiment, spec: ExperimentSpec) -> Results:
    """What the spec's own metric and score need, and of an experiment that is not complete no epoch at all."""
    runs = repository.run_facts(session, experiment.id)
    place = _Place(spec, runs)
    names = [f"val_{spec.metric}", *([f"val_{spec.metric}_a"] if spec.score == "best" else [])]
    if any(run.state != RunState.SUCCEEDED for run in runs):
        names = []
    return _arranged(spec, runs, place, _columns(session, experiment.id, place, names, MetricsFilter()))


def _arranged(
    spec: ExperimentSpec, runs: Sequence[Row[*tuple[Any, ...]]], place: "_Place", columns: dict[str, Array]
) -> Results:
    nothing = np.broadcast_to(np.nan, (*place.shape, place.num_epochs))
    return Results(
        activations=place.activations, rates=spec.rates, num_val=spec.dataset.val_size,
        loss_ARSE=columns.get("val_loss", nothing), accuracy_ARSE=columns.get("val_accuracy", nothing),
        loss_a_ARSE=columns.get("val_loss_a", nothing), accuracy_a_ARSE=columns.get("val_accuracy_a", nothing),
        null_loss_ARS=place.spread([run.null_loss for run in runs]),
        null_accuracy_ARS=place.spread([run.null_accuracy for run in runs]),
        complete_ARS=place.spread([run.state == RunState.SUCCEEDED for run in runs]) == 1,
        diverged_ARS=place.spread([run.outcome == Outcome.DIVERGED for run in runs]) == 1,
        num_measured_ARS=place.spread([run.epoch for run in runs]).astype(np.int64),
        memorization_ARSE=columns.get("memorization", nothing), recovery_ARSE=columns.get("recovery", nothing),
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

    def spread(self, values: Sequence[Any]) -> Array:
        """One value a run, in the order of the runs; NaN for None."""
        array = np.full(self.shape, np.nan)
        array.flat[self._runs] = np.array(values, dtype=np.float64)
        return array


def _columns(
    session: Session, experiment_id: str, place: _Place, names: Sequence[str], wanted: MetricsFilter
) -> dict[str, Array]:
    """Columns of the metrics as arrays (activations, rates, seeds, epochs); NaN where there is no row."""
    columns = {name: np.full((*place.shape, place.num_epochs), np.nan) for name in names}
    if not names or not place.is_begun:
        return columns
    for chunk in number_chunks(session, experiment_id, names, wanted):
        position, epoch, *values = chunk.T
        index = place.by_position[position.astype(np.int64)] * place.num_epochs + epoch.astype(np.int64) - 1
        for column, part in zip(columns.values(), values, strict=True):
            column.reshape(-1)[index] = part
    return columns
