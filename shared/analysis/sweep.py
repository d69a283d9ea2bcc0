"""What a whole sweep over rates says: area under the degradation, breakdown rate, relative error.

Shape letters: A activations, R rates (rising, without 0), S seeds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.analysis.statistics import Array, moments, t_interval

HALF = 0.5


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


def isotonic(values_XR: Array) -> Array:
    """The nearest curve that never falls, least squares over the last axis (Ayer et al. 1955); NaN spreads to its row.

    The fit at i is the largest over j <= i of the smallest over k >= i of the mean from j to k.
    """
    num = values_XR.shape[-1]
    sums = np.concatenate([np.zeros_like(values_XR[..., :1]), values_XR.cumsum(axis=-1)], axis=-1)
    j, k = np.ogrid[:num, :num]
    with np.errstate(invalid="ignore"):
        mean_XJK = (sums[..., None, 1:] - sums[..., :-1, None]) / np.maximum(k - j + 1, 1)
        mean_XJK = np.where(k >= j, mean_XJK, np.inf)
        smallest_XJI = np.minimum.accumulate(mean_XJK[..., ::-1], axis=-1)[..., ::-1]
        fit: Array = np.where(j <= k, smallest_XJI, -np.inf).max(axis=-2)
    return np.where(np.isnan(values_XR).any(axis=-1, keepdims=True), np.nan, fit)


def first_crossing(values_R: Array, rates: Array) -> float:
    """The smallest rate at which a rising curve, linear between the rates, reaches 0; NaN where it never does."""
    reached = np.flatnonzero(values_R >= 0)
    if reached.size == 0:
        return np.nan
    i = int(reached[0])
    if i == 0:
        return float(rates[0])
    share = values_R[i - 1] / (values_R[i - 1] - values_R[i])
    return float(rates[i - 1] + share * (rates[i] - rates[i - 1]))


@dataclass(frozen=True)
class Breakdown:
    """Rates at which half of what was learned is lost, (A,); NaN: beyond the sweep, unknown, or nothing was learned."""

    value: Array
    low: Array
    high: Array
    censored: NDArray[np.bool_]


def breakdown_rate(
    degradation_ARS: Array, learned_AS: Array, rates: Array, *, confidence: float, overlap: float = 0.0
) -> Breakdown:
    """Smallest rate at which the mean of B = D - K/2 reaches 0, after isotonic smoothing, linear between the rates.

    The interval holds the rates at which the t interval of B contains 0, its ends smoothed in the same way; an end
    outside the sweep is NaN.

    Args:
        degradation_ARS: D; `rates` in rising order, without 0, at which D is 0. A seed that lacks a rate has no part.
        learned_AS: K, the null score minus the clean score.
    """
    half_ARS = np.broadcast_to(HALF * learned_AS[:, None], degradation_ARS.shape)
    lost_ARS = np.concatenate([-half_ARS[:, :1], degradation_ARS - half_ARS], axis=1)
    lost_ARS = np.where(np.isnan(lost_ARS).any(axis=1, keepdims=True), np.nan, lost_ARS)
    grid = np.concatenate([[0.0], rates])
    summary = moments(lost_ARS)
    mean_AR, no_spread_AR = summary.mean, summary.sd == 0
    # Where all seeds agree at a rate the interval is a point; where they agree at every rate there is none.
    points_AR = np.where(no_spread_AR & ~no_spread_AR.all(axis=-1, keepdims=True), mean_AR, np.nan)
    low_AR, high_AR = (
        np.where(no_spread_AR, points_AR, end_AR) for end_AR in t_interval(lost_ARS, confidence, overlap=overlap)
    )
    # Where the mean is above 0 by more than the interval's half-width the rate is too high, and the other way round.
    value, low, high = (
        np.array([first_crossing(row, grid) for row in isotonic(ends_AR)]) for ends_AR in (mean_AR, high_AR, low_AR)
    )
    # Where B is not below 0 at rate 0, nothing was learned that could be lost.
    learned_A = mean_AR[:, 0] < 0
    value, low, high = (np.where(learned_A, part_A, np.nan) for part_A in (value, low, high))
    known_A = ~np.isnan(mean_AR).any(axis=-1)
    return Breakdown(value, low, high, learned_A & known_A & np.isnan(value))


def relative_error(h_XS: Array, reference_XS: Array) -> Array:
    """Sum of an activation's scores over that of the reference's, in percent (Hendrycks and Dietterich 2019).

    Args:
        h_XS: scores, worse is larger; (..., num_rates, num_seeds). Summed over rates, averaged over the seeds that both
            have at all rates.
    Returns: (...); NaN without such a seed, or where the reference makes no error.
    """
    both_S = ~np.isnan(h_XS + reference_XS).any(axis=-2, keepdims=True)
    total, reference = (np.where(both_S, part, 0.0).sum(axis=(-2, -1)) for part in (h_XS, reference_XS))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.where(reference > 0, 100 * total / reference, np.nan)
