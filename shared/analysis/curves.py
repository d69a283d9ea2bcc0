"""Degradation epoch by epoch, with a band that holds for all epochs together.

Shape letters: X curves, E epochs, S seeds, F flips.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np

from shared.analysis.signflip import flip_blocks, sets_of_seeds, unit_rows
from shared.analysis.statistics import Array, moments, standard_error

# A quantile of this many draws is off by a quarter of a percent of coverage; a p value needs more of them.
NUM_DRAWS = 10_000
# Epochs x flips of one block should fit the processor's cache.
FLIPS_IN_BLOCK = 512
# More than these are computed in half the precision, which moves the band by a millionth of its width.
MOST_FLIPS_IN_FULL_PRECISION = 4096


def simultaneous_band(values_XES: Array, confidence: float) -> tuple[Array, Array]:
    """Band that holds the mean curve at all epochs together: mean +- c SE.

    c is the `confidence` quantile of the largest |t| over the epochs, over sign flips of the residuals, with the SE
    recomputed for each flip: all 2^n of them up to n = 16, else draws of a fixed seed. Nominal for symmetric
    differences.

    Args:
        values_XES: differences; (num_curves, num_epochs, num_seeds). A seed that misses an epoch has no part in c.
    Returns: lower and upper ends, (num_curves, num_epochs); NaN with fewer than two seeds or without any spread.
    """
    summary = moments(values_XES)
    factor_X = np.full(len(values_XES), np.nan)
    incomplete_XS = np.where(np.isnan(values_XES).any(axis=1), np.nan, 0.0)
    for rows, group_XS in sets_of_seeds(incomplete_XS):
        if group_XS.shape[1] > 1:
            seeds = np.flatnonzero(~np.isnan(incomplete_XS[rows[0]]))
            factor_X[rows] = _factors([values_XES[row][:, seeds] for row in rows], confidence)
    half_width_XE = factor_X[:, None] * standard_error(summary)
    return summary.mean - half_width_XE, summary.mean + half_width_XE


def _factors(curves_ES: Sequence[Array], confidence: float) -> list[float]:
    """c of curves over the same seeds."""
    num_seeds = curves_ES[0].shape[1]
    blocks = list(flip_blocks(num_seeds, num_draws=NUM_DRAWS, block_size=FLIPS_IN_BLOCK))
    if sum(signs_SF.shape[1] for signs_SF in blocks) > MOST_FLIPS_IN_FULL_PRECISION:
        blocks = [signs_SF.astype(np.float32) for signs_SF in blocks]
    return [_factor(values_ES, blocks, confidence) for values_ES in curves_ES]


def _factor(values_ES: Array, blocks: Sequence[Array], confidence: float) -> float:
    num_epochs, num_seeds = values_ES.shape
    unit_ES = unit_rows(values_ES - values_ES.mean(axis=1, keepdims=True)).astype(blocks[0].dtype)
    u_EF = np.empty((num_epochs, FLIPS_IN_BLOCK), dtype=unit_ES.dtype)
    largest = []
    for signs_SF in blocks:
        part_EF = np.matmul(unit_ES, signs_SF, out=u_EF[:, : signs_SF.shape[1]])
        largest.append(np.abs(part_EF, out=part_EF).max(axis=0))
    largest_F = np.concatenate(largest)
    place = ceil(confidence * largest_F.size) - 1
    return _t_of(float(np.partition(largest_F, place)[place]), num_seeds)


def _t_of(u: float, num_seeds: int) -> float:
    """|t| of a flipped unit row whose sum is u; see signflip.py. Infinite where all residuals are of one size."""
    left = num_seeds - u**2
    return u * float(np.sqrt((num_seeds - 1) / left)) if left > 1e-6 * num_seeds else np.inf
