"""The degradation that is called too small to matter."""

from shared.analysis.scores import Results
from shared.analysis.statistics import moments

DEFAULT_ACCURACY_MARGIN = 0.01
DEFAULT_SHARE_OF_NULL_LOSS = 0.05


def mean_null(results: Results, metric: str) -> float:
    """Of all runs that have said theirs, in the metric's own unit; NaN before the first."""
    null_ARS = results.null_loss_ARS if metric == "loss" else results.null_accuracy_ARS
    return float(moments(null_ARS.ravel()).mean)


def margin_used(results: Results, metric: str, declared: float | None) -> float:
    """The declared margin, else the default: 0.01 of accuracy, or 5 % of the null loss (NaN before one is known)."""
    if declared is not None:
        return declared
    if metric == "accuracy":
        return DEFAULT_ACCURACY_MARGIN
    return DEFAULT_SHARE_OF_NULL_LOSS * mean_null(results, "loss")
