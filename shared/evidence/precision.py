"""Whether an experiment with a precision target has seeds enough, from what the store holds of it."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from shared.analysis.precision import reach
from shared.analysis.question import CONFIDENCE
from shared.analysis.scores import Results
from shared.evidence.results import load_scores
from shared.spec import ExperimentSpec
from shared.store.tables import Experiment


@dataclass(frozen=True)
class Precision:
    """How narrow the intervals of an experiment are, by its spec's own metric and score, against its target.

    `half_width` is the widest interval's, at the confidence of all intervals; None as long as a run is missing.
    `target` is None while it depends on a margin that is not known yet. `num_seeds` are those there are by now,
    `max_seeds` those there may be. The interval with which it ends holds the truth with `overall_confidence`.
    """

    target: float | None
    half_width: float | None
    reached: bool
    num_seeds: int
    max_seeds: int
    overall_confidence: float = CONFIDENCE

    @property
    def is_final(self) -> bool:
        """Whether no seed is to be added any more once all runs have finished."""
        return self.reached or self.num_seeds >= self.max_seeds


def precision_of(session: Session, experiment: Experiment) -> Precision:
    """Look at an experiment whose spec has a precision target."""
    spec = ExperimentSpec.model_validate(experiment.spec)
    return precision_in(load_scores(session, experiment, spec), spec)


def precision_in(results: Results, spec: ExperimentSpec) -> Precision:
    """The same from results that are loaded, of the spec's own metric and score."""
    assert spec.until is not None
    assert spec.metric is not None
    found = reach(
        results, metric=spec.metric, score=spec.score,
        declared_margin=getattr(spec.margin, spec.metric) if spec.margin else None,
        declared_target=spec.until.ci_half_width,
    )  # fmt: skip
    return Precision(found.target, found.half_width, found.reached, spec.num_seeds, spec.until.max_seeds)
