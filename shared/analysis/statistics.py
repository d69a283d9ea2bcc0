"""Statistics over seeds: arrays in, numbers out. NaN marks a seed that is missing; it counts nowhere.

The last axis is always the seeds, S; leading axes (activations A, rates R, epochs E) are computed at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Number of seeds, mean and standard deviation (n - 1), each of the leading axes' shape; NaN where undefined."""

    n: NDArray[np.int64]
    mean: Array
    sd: Array


def moments(values_S: Array) -> Moments:
    """Count, mean and sample SD over the last axis; the mean needs one seed, the SD two."""
    present = ~np.isnan(values_S)
    n = present.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, values_S, 0.0).sum(axis=-1) / n
        squares = np.where(present, (values_S - mean[..., None]) ** 2, 0.0).sum(axis=-1)
        sd = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
    return Moments(n, np.where(n > 0, mean, np.nan), sd)


def t_interval(values_S: Array, confidence: float) -> tuple[Array, Array]:
    """Student's t interval of the mean over the last axis (Student 1908).

    Returns: lower and upper ends; NaN with fewer than two seeds or without any spread, which tells nothing.
    """
    summary = moments(values_S)
    with np.errstate(invalid="ignore", divide="ignore"):
        quantile = stdtrit(summary.n - 1, (1 + confidence) / 2)  # scipy.stats would cost the API 40 MB
        half_width = np.where(summary.sd > 0, quantile * summary.sd / np.sqrt(summary.n), np.nan)
    return summary.mean - half_width, summary.mean + half_width


def area_under_degradation(degradation_RS: Array, rates: Array) -> Array:
    """Mean degradation over rates from 0 to the largest: trapezoids from D(0) = 0, divided by the largest rate.

    Args:
        degradation_RS: (..., num_rates, num_seeds), in the order of `rates`.
        rates: (num_rates,), rising, without 0.
    Returns: (..., num_seeds).
    """
    from_zero = np.concatenate([np.zeros_like(degradation_RS[..., :1, :]), degradation_RS], axis=-2)
    area: Array = np.trapezoid(from_zero, np.concatenate([[0.0], rates]), axis=-2) / rates[-1]
    return area
