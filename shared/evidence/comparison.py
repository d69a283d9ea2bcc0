"""Answers `/robustness`: reads an experiment's metrics into arrays and has them compared."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from sqlalchemy.orm import Session
from threadpoolctl import ThreadpoolController

from shared.analysis.question import CONFIDENCE, CONFIDENCE_WITH_TARGET, Question
from shared.analysis.robustness import compare
from shared.analysis.scores import Results
from shared.evidence.precision import Precision, precision_in, precision_of
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
    results = load_results(session, experiment, spec, metric=query.metric, score=query.score)
    precision = _precision(session, experiment, spec, query, results) if spec.until else None
    question = _question(spec, query, precision)
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
        **({"precision": asdict(precision)} if precision else {}),
        "warnings": [*_not_reached(precision), *compared["warnings"], *spec.warnings],
    }


def _precision(
    session: Session, experiment: Experiment, spec: ExperimentSpec, query: RobustnessQuery, results: Results
) -> Precision:
    """Of the spec's metric and score, which decided how many seeds there are, whatever the query is about."""
    is_exploratory = (query.metric, query.score) != (spec.metric, spec.score)
    return precision_of(session, experiment) if is_exploratory else precision_in(results, spec)


def _not_reached(precision: Precision | None) -> Iterator[str]:
    if precision is None or precision.half_width is None or precision.target is None or not precision.is_final:
        return
    if not precision.reached:
        missed = f"the widest interval reaches {precision.half_width:.3g} to either side, the target is"
        yield (
            f"the precision target was not reached with {precision.max_seeds} seeds: {missed} {precision.target:.3g}; "
            "raise 'until.max_seeds', or take a wider 'until.ci_half_width' or margin, with another 'base_seed'"
        )


@cache
def _threads() -> ThreadpoolController:
    # Finding the libraries takes as long as a small comparison does.
    return ThreadpoolController()


def _question(spec: ExperimentSpec, query: RobustnessQuery, precision: Precision | None) -> Question:
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
        confidence=CONFIDENCE_WITH_TARGET if precision else CONFIDENCE,
        is_final=precision is None or precision.is_final,
    )  # fmt: skip
