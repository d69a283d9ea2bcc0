"""Whether the seeds suffice for a precision target: the rule by which an experiment stops taking more.

Only the width of the intervals is looked at, never on which side of anything they lie. Assumes near-normal
differences; what that is worth is simulated in docs/statistics.md.
"""

from dataclasses import dataclass

import numpy as np

from shared.analysis.margin import margin_used
from shared.analysis.question import CONFIDENCE_WITH_TARGET
from shared.analysis.scores import Results, score_all
from shared.analysis.statistics import Array, moments, number, t_quantile

DEFAULT_SHARE_OF_MARGIN = 0.5


@dataclass(frozen=True)
class Reach:
    """The widest interval's half-width against the target, in the metric's own unit.

    Either is None where it does not exist: the half-width as long as a run is missing or where a score is not finite,
    the target where it is a part of a margin that is not known yet.
    """

    half_width: float | None
    target: float | None

    @property
    def reached(self) -> bool:
        """Whether the interval is narrow enough."""
        return self.half_width is not None and self.target is not None and self.half_width <= self.target


def reach(
    results: Results, *, metric: str, score: str, declared_margin: float | None, declared_target: float | None
) -> Reach:
    """How near the target all degradations of an experiment are.

    Args:
        metric, score: those of the spec, whatever else is asked of the results.
        declared_margin: that of the metric; None for the default one.
        declared_target: None for half of the margin.
    """
    target = declared_target
    if target is None:
        target = number(DEFAULT_SHARE_OF_MARGIN * margin_used(results, metric, declared_margin))
    if not results.complete_ARS.all():
        return Reach(None, target)
    scored = score_all(results.with_rising_rates(), metric, score)
    return Reach(number(half_widths(scored.degradation_ARS).max()), target)


def half_widths(values_S: Array) -> Array:
    """t(n - 1, 1 - alpha/4) SD / sqrt(n) over the last axis, alpha = 0.05: an interval at half the error has it.

    Zero where all values are equal; NaN with fewer than two, or where one is missing or infinite.
    """
    summary = moments(np.where(np.isnan(values_S).any(axis=-1, keepdims=True), np.nan, values_S))
    with np.errstate(invalid="ignore", divide="ignore"):
        return t_quantile(summary.n, CONFIDENCE_WITH_TARGET) * summary.sd / np.sqrt(summary.n)
