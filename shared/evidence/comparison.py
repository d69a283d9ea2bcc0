"""Answers `/robustness`: reads an experiment's metrics into arrays and has them compared."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy.orm import Session
from threadpoolctl import ThreadpoolController

from shared.analysis.question import Question
from shared.analysis.robustness import compare
from shared.evidence.results import load_results
from shared.spec import ExperimentSpec
from shared.store.tables import Experiment

# The activation that errors are relative to.
REFERENCE_KIND = "relu"


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
    is_loss = query.metric == "loss"
    question = _question(spec, query)
    results = load_results(session, experiment, spec, metric=query.metric, score=query.score)
    # Many small products: with a second thread each would wait for a core that a worker keeps busy.
    with _threads().limit(limits=1):
        compared = compare(results, question)
    return {
        "experiment_id": experiment.id,
        "state": experiment.state,
        "inference_scope": spec.dataset.inference_scope,
        "exploratory": question.exploratory,
        "metric": {
            "name": query.metric,
            "unit": spec.training.loss if is_loss else "fraction",
            "better": "lower" if is_loss else "higher",
        },
        **compared,
        "warnings": [*compared["warnings"], *spec.warnings],
    }


@cache
def _threads() -> ThreadpoolController:
    # Finding the libraries takes as long as a small comparison does.
    return ThreadpoolController()


def _question(spec: ExperimentSpec, query: RobustnessQuery) -> Question:
    references = [activation.name for activation in spec.activations if activation.kind == REFERENCE_KIND]
    dataset, scope = spec.dataset, spec.dataset.inference_scope
    return Question(
        metric=query.metric, score=query.score, rates=tuple(sorted(query.rates)),
        declared_margin=getattr(spec.margin, query.metric) if spec.margin else None,
        include_curves="curves" in query.include, include_pairs="pairs" in query.include,
        include_raw="raw" in query.include, reference=references[0] if references else None,
        fixed_split=scope == "fixed_split",
        overlap=dataset.val_size / dataset.train_size if scope == "resampled_split" else 0.0,
        exploratory=(query.metric, query.score) != (spec.metric, spec.score),
    )  # fmt: skip
