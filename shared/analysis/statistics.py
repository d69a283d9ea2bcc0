"""Statistics over seeds: arrays in, numbers out. NaN marks a seed that is missing; it counts nowhere.

The last axis is always the seeds, S; leading axes (activations A, rates R, epochs E, pairs P, any X) are computed at
once. `overlap` is num_val / num_train where a finite data set is split anew for each seed, else 0: the seeds then share
training rows, and the variance of a mean is (1/n + overlap) SD^2 instead of SD^2 / n (Nadeau and Bengio 2003).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtr, stdtrit  # scipy.stats would cost the API 40 MB

Array = NDArray[np.float64]

# Binary digits that a difference of two scores keeps: far more than any score is worth, fewer than rounding spoils.
DIGITS_KEPT = 42


@dataclass(frozen=True)
class Moments:
    """Number of seeds, mean and standard deviation (n - 1), each of the leading axes' shape; NaN where undefined."""

    n: NDArray[np.int64]
    mean: Array
    sd: Array


def settled(values: Array, *, magnitude: Array) -> Array:
    """Values without the rounding noise of numbers as large as `magnitude`: what is equal on paper becomes equal.

    Accuracies are multiples of 1 / num_val, so that ties, and differences that are the same in every seed, are real.
    The result is a whole multiple of a power of two, and sums and means over seeds of equal values are exact.
    """
    with np.errstate(invalid="ignore"):
        exponent = np.frexp(np.where(np.isfinite(magnitude), magnitude, 1.0))[1] - DIGITS_KEPT
        rounded: Array = np.ldexp(np.rint(np.ldexp(values, -exponent)), exponent)
    return rounded


def difference(first: Array, second: Array) -> Array:
    """First minus second, settled."""
    return settled(first - second, magnitude=np.fmax(np.abs(first), np.abs(second)))


def moments(values_S: Array) -> Moments:
    """Count, mean and sample SD over the last axis; the mean needs one seed, the SD two.

    Reckoned from the largest value, so that equal values have exactly their value as mean and no spread.
    """
    present = ~np.isnan(values_S)
    n = present.sum(axis=-1)
    origin = np.fmax.reduce(values_S, axis=-1, initial=-np.inf)
    origin = np.where(np.isfinite(origin), origin, 0.0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        shifted_S = values_S - origin[..., None]
        mean = np.where(present, shifted_S, 0.0).sum(axis=-1) / n
        squares = np.where(present, (shifted_S - mean[..., None]) ** 2, 0.0).sum(axis=-1)
        sd = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
    return Moments(n, np.where(n > 0, origin + mean, np.nan), sd)


def standard_error(summary: Moments, *, overlap: float = 0.0) -> Array:
    """Of the mean; NaN with fewer than two seeds or without any spread, which tells nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(summary.sd > 0, summary.sd * np.sqrt(1 / summary.n + overlap), np.nan)


def t_interval(values_S: Array, confidence: float, *, overlap: float = 0.0) -> tuple[Array, Array]:
    """Student's t interval of the mean over the last axis (Student 1908).

    Returns: lower and upper ends; NaN with fewer than two seeds or without any spread.
    """
    summary = moments(values_S)
    half_width = t_quantile(summary.n, confidence) * standard_error(summary, overlap=overlap)
    return summary.mean - half_width, summary.mean + half_width


def t_quantile(n: NDArray[np.int64], confidence: float) -> Array:
    """Half the width of a two-sided t interval of n seeds, in standard errors; NaN below two seeds."""
    return np.asarray(stdtrit(np.where(n > 1, n - 1, np.nan), (1 + confidence) / 2), dtype=np.float64)


def p_at_least(values_S: Array, bound: float, *, overlap: float = 0.0) -> Array:
    """One-sided p of H0: the mean is at least `bound`, by t; small where it is clearly below.

    Non-inferiority with the margin as bound. NaN where there is no standard error.
    """
    summary = moments(values_S)
    with np.errstate(invalid="ignore"):
        t = (summary.mean - bound) / standard_error(summary, overlap=overlap)
        p: Array = stdtr(np.where(summary.n > 1, summary.n - 1, np.nan), t)
    return p


def p_at_most(values_S: Array, bound: float, *, overlap: float = 0.0) -> Array:
    """One-sided p of H0: the mean is at most `bound`, by t; small where it is clearly above."""
    return p_at_least(-values_S, -bound, overlap=overlap)


def p_not_equivalent(values_S: Array, margin: float, *, overlap: float = 0.0) -> Array:
    """p of H0: the mean lies outside (-margin, margin), by two one-sided t tests (Schuirmann 1987)."""
    below = p_at_least(values_S, margin, overlap=overlap)
    return np.maximum(below, p_at_most(values_S, -margin, overlap=overlap))


def hedges_g(values_S: Array) -> Array:
    """Mean in SDs, corrected for few seeds (Hedges 1981); NaN with fewer than two seeds or without any spread."""
    summary = moments(values_S)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.where(summary.sd > 0, summary.mean / summary.sd * (1 - 3 / (4 * summary.n - 5)), np.nan)


def interquartile_mean(values_S: Array) -> Array:
    """Mean without the lowest and the highest quarter, whole seeds only (Agarwal et al. 2021); NaN without seeds."""
    n = (~np.isnan(values_S)).sum(axis=-1, keepdims=True)
    cut = n // 4
    places = np.arange(values_S.shape[-1])
    kept = (places >= cut) & (places < n - cut)
    # NaN is sorted to the end, behind the n that count.
    return moments(np.where(kept, np.sort(values_S, axis=-1), np.nan)).mean


def correlation(first_S: Array, second_S: Array) -> Array:
    """Pearson's r over the last axis; NaN with fewer than three seeds or where one of the two has no spread."""
    both = ~np.isnan(first_S + second_S)
    first_S, second_S = np.where(both, first_S, np.nan), np.where(both, second_S, np.nan)
    first, second = moments(first_S), moments(second_S)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        products = (first_S - first.mean[..., None]) * (second_S - second.mean[..., None])
        r = np.where(both, products, 0.0).sum(axis=-1) / (first.n - 1) / (first.sd * second.sd)
    known = (first.n > 2) & (first.sd > 0) & (second.sd > 0)
    return np.where(known, np.clip(r, -1, 1), np.nan)


@dataclass(frozen=True)
class Ratio:
    """A ratio of means and the ends of its interval; NaN where undefined."""

    value: Array
    low: Array
    high: Array


def ratio_of_means(above_S: Array, below_S: Array, confidence: float, *, overlap: float = 0.0) -> Ratio:
    """Mean of one over mean of the other with Fieller's interval: the ratios q for which 0 lies in the t interval of
    above - q * below (Fieller 1954).

    All of it is NaN where the t interval of `below` contains 0, as the ratio could be anything, and where the mean of
    `below` is negative: a share of less than nothing would have the wrong sign.
    """
    both = ~np.isnan(above_S + below_S)
    above_S, below_S = np.where(both, above_S, np.nan), np.where(both, below_S, np.nan)
    above, below = moments(above_S), moments(below_S)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        products = (above_S - above.mean[..., None]) * (below_S - below.mean[..., None])
        covariance = np.where(both, products, 0.0).sum(axis=-1) / (above.n - 1)
        factor = t_quantile(above.n, confidence) ** 2 * (1 / above.n + overlap)
        # 0 lies in the interval where a q^2 - 2 b q + c <= 0.
        a = below.mean**2 - factor * below.sd**2
        b = above.mean * below.mean - factor * covariance
        c = above.mean**2 - factor * above.sd**2
        half_width = np.sqrt(np.maximum(b**2 - a * c, 0.0))
        known = (below.mean > 0) & ((above.n == 1) | (a > 0))
        spread = known & ((above.sd > 0) | (below.sd > 0))
        value = np.where(known, above.mean / below.mean, np.nan)
        low, high = ((b + side * half_width) / a for side in (-1, 1))
    return Ratio(value, np.where(spread, low, np.nan), np.where(spread, high, np.nan))


def clopper_pearson(successes: Array, n: NDArray[np.int64], confidence: float) -> tuple[Array, Array]:
    """Exact interval of a share (Clopper and Pearson 1934); NaN for n = 0.

    Args:
        successes: counts, of which ties may be halves: the lower end rounds them down, the upper end up.
    """
    tail = (1 - confidence) / 2
    fewest, most = np.floor(successes), np.ceil(successes)
    # betaincinv has no beta distribution at the ends of the range, where the answers are 0 and 1.
    low = np.where(fewest > 0, betaincinv(np.maximum(fewest, 1), n - fewest + 1, tail), 0.0)
    high = np.where(most < n, betaincinv(most + 1, np.maximum(n - most, 1), 1 - tail), 1.0)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def number(value: Any) -> float | None:
    """A float for JSON: None where it does not exist or is not finite."""
    plain = float(value)
    return plain if np.isfinite(plain) else None


def numbers(values: Any) -> list[Any]:
    """A whole array as (nested) lists of floats for JSON, None where a value is not finite."""
    array = np.asarray(values, dtype=np.float64)
    plain = array.astype(object)
    plain[~np.isfinite(array)] = None
    listed: list[Any] = plain.tolist()
    return listed
