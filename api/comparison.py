"""Answers `/robustness`: reads an experiment's metrics into arrays and has them compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from shared.analysis.robustness import Question, compare
from shared.analysis.scores import Results
from shared.spec import ExperimentSpec
from shared.store import repository
from shared.store.metrics import NAMES, MetricsFilter, metrics_chunks
from shared.store.states import Outcome, RunState
from shared.store.tables import Experiment, Run

MEASURED = ("val_loss", "val_accuracy", "val_loss_a", "val_accuracy_a")


@dataclass(frozen=True)
class RobustnessQuery:
    """A checked query: `rates` are dirty rates of the experiment, `include` names optional parts."""

    metric: str
    score: str
    rates: tuple[float, ...]
    include: frozenset[str]


def robustness_document(session: Session, experiment: Experiment, query: RobustnessQuery) -> dict[str, Any]:
    """The whole answer, from what is complete so far."""
    spec = ExperimentSpec.model_validate(experiment.spec)
    margin = getattr(spec.margin, query.metric) if spec.margin else None
    question = Question(
        metric=query.metric, score=query.score, rates=tuple(sorted(query.rates)), declared_margin=margin,
        include_curves="curves" in query.include, include_raw="raw" in query.include,
    )  # fmt: skip
    is_loss = query.metric == "loss"
    comparison = compare(load_results(session, experiment, spec), question)
    if "pairs" in query.include:
        comparison["warnings"].append("pairs of activations are not compared in this version")
    return {
        "experiment_id": experiment.id,
        "state": experiment.state,
        "inference_scope": spec.dataset.inference_scope,
        "exploratory": (query.metric, query.score) != (spec.metric, spec.score),
        "metric": {
            "name": query.metric,
            "unit": spec.training.loss if is_loss else "fraction",
            "better": "lower" if is_loss else "higher",
        },
        **comparison,
    }


def load_results(session: Session, experiment: Experiment, spec: ExperimentSpec) -> Results:
    """All runs of an experiment as arrays."""
    activations = tuple(activation.name for activation in spec.activations)
    shape = (len(activations), len(spec.rates), spec.num_seeds)
    runs = repository.all_runs(session, experiment.id)
    place = {run.id: (activations.index(run.activation), spec.rates.index(run.rate), run.seed) for run in runs}
    measured = {name: np.full((*shape, spec.training.epochs), np.nan) for name in MEASURED}
    columns = [NAMES.index(name) for name in MEASURED]
    epoch_column = NAMES.index("epoch")
    for chunk in metrics_chunks(session, experiment.id, MetricsFilter()):
        index = np.array([(*place[row[0]], row[epoch_column] - 1) for row in chunk]).T
        for name, column in zip(MEASURED, columns, strict=True):
            measured[name][tuple(index)] = np.array([row[column] for row in chunk], dtype=np.float64)
    return Results(
        activations=activations, rates=spec.rates, num_val=spec.dataset.val_size,
        loss_ARSE=measured["val_loss"], accuracy_ARSE=measured["val_accuracy"],
        loss_a_ARSE=measured["val_loss_a"], accuracy_a_ARSE=measured["val_accuracy_a"],
        null_loss_ARS=_spread(runs, place, shape, [run.null_loss for run in runs]),
        null_accuracy_ARS=_spread(runs, place, shape, [run.null_accuracy for run in runs]),
        complete_ARS=_spread(runs, place, shape, [run.state == RunState.SUCCEEDED for run in runs]) == 1,
        diverged_ARS=_spread(runs, place, shape, [run.outcome == Outcome.DIVERGED for run in runs]) == 1,
        num_measured_ARS=_spread(runs, place, shape, [run.epoch for run in runs]),
    )  # fmt: skip


def _spread(
    runs: Sequence[Run], place: dict[str, tuple[int, int, int]], shape: tuple[int, int, int], values: list[Any]
) -> Any:
    array = np.full(shape, np.nan)
    for run, value in zip(runs, values, strict=True):
        array[place[run.id]] = np.nan if value is None else value
    return array
