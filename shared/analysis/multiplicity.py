"""p values of many tests at once: Holm, and Westfall and Young's step-down with sign flips.

Shape letters: P tests, S seeds, F flips.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shared.analysis.signflip import flip_blocks, p_of_counts, precision, unit_rows
from shared.analysis.statistics import Array, moments

ROWS_AT_ONCE = 32


def holm(p_values: Array) -> Array:
    """Adjusted p values of one family (Holm 1979), of the same shape.

    NaN, a test that could not be made, stays NaN; it still counts as one of the family, as if its p were 1.
    """
    flat = np.where(np.isnan(p_values), 1.0, p_values).ravel()
    order = np.argsort(flat, kind="stable")
    scaled = flat[order] * np.arange(flat.size, 0, -1)
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return np.where(np.isnan(p_values), np.nan, adjusted.reshape(p_values.shape))


def step_down(values_PS: Array) -> tuple[Array, Array]:
    """Two-sided sign-flip p of each row and, over all rows, adjusted by step-down max-|t| (Westfall and Young 1993).

    Every flip hits all rows alike, so that the adjustment knows how they depend on each other.

    Args:
        values_PS: differences; (num_tests, num_seeds).
    Returns: p and adjusted p, (num_tests,). NaN for rows without spread or with a missing seed: they are not tested.
    """
    p_P, adjusted_P = np.full((2, len(values_PS)), np.nan)
    tested = np.flatnonzero(~np.isnan(values_PS).any(axis=1) & (moments(values_PS).sd > 0))
    if tested.size:
        unit_PS = unit_rows(values_PS[tested])
        weakest_first = np.argsort(np.abs(unit_PS.sum(axis=1)), kind="stable")
        alone, largest = _counts(unit_PS[weakest_first])
        rows, num_seeds = tested[weakest_first], values_PS.shape[1]
        p_P[rows] = p_of_counts(alone, num_seeds)
        # From the strongest down, an adjusted p is never below the one before it.
        adjusted_P[rows[::-1]] = np.maximum.accumulate(p_of_counts(largest, num_seeds)[::-1])
    return p_P, adjusted_P


def _counts(unit_PS: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For rows with |u| rising: in how many flips the row, and the largest of it and all weaker rows, is as large."""
    num_tests, num_seeds = unit_PS.shape
    dtype, tolerance = precision(num_seeds)
    observed_P = (np.abs(unit_PS.sum(axis=1)) - tolerance).astype(dtype)
    rows_PS = unit_PS.astype(dtype)
    counts = np.zeros((2, num_tests), dtype=np.int64)
    for signs_SF in flip_blocks(num_seeds):
        largest_F = np.zeros(signs_SF.shape[1], dtype)
        hit_F = np.empty(signs_SF.shape[1], dtype=bool)
        alone, together = [], []
        for u_F, observed in zip(_flipped(rows_PS, signs_SF), observed_P, strict=True):
            np.maximum(largest_F, u_F, out=largest_F)
            alone.append(np.count_nonzero(np.greater_equal(u_F, observed, out=hit_F)))
            together.append(np.count_nonzero(np.greater_equal(largest_F, observed, out=hit_F)))
        counts += np.array([alone, together])
    return counts[0], counts[1]


def _flipped(rows_PS: Array, signs_SF: Array) -> Iterator[Array]:
    """|u| of each row under all flips, in one buffer that the processor's cache holds: each is gone with the next."""
    buffer_PF = np.empty((ROWS_AT_ONCE, signs_SF.shape[1]), dtype=rows_PS.dtype)
    for first in range(0, len(rows_PS), ROWS_AT_ONCE):
        part_PS = rows_PS[first : first + ROWS_AT_ONCE]
        u_PF = np.matmul(part_PS, signs_SF, out=buffer_PF[: len(part_PS)])
        yield from np.abs(u_PF, out=u_PF)
