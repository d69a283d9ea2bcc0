"""Sign flips: what a mean over seeds could be if the sign of each seed's difference were chance.

Exact where clean and dirty are exchangeable within a seed (Fisher 1935). Shape letters: X tests, S seeds, F flips.

A row divided by its length in the Euclidean sense is a unit row. With u the sum of a flipped unit row of n seeds,
t^2 = u^2 (n - 1) / (n - u^2) for every flip: |t| rises with |u|, so that |u| serves as statistic.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.analysis.statistics import Array, moments

ALL_FLIPS_UP_TO = 16
NUM_DRAWS = 100_000
RANDOM_SEED = 20_260_101
MOST_FLIPS_IN_BLOCK = 8192
MOST_NUMBERS_IN_BLOCK = 2**24


def is_exact(num_seeds: int) -> bool:
    """Whether every flip is looked at, instead of draws."""
    return num_seeds <= ALL_FLIPS_UP_TO


def precision(num_seeds: int) -> tuple[type[Any], float]:
    """The type to compute in, and how close to each other two |u| count as equal.

    Draws are 1/sqrt(draws) off in any case, so that half the precision, at twice the speed, spoils nothing.
    """
    return (np.float64, 1e-9) if is_exact(num_seeds) else (np.float32, 1e-5)


def flip_blocks(num_seeds: int, *, num_draws: int = NUM_DRAWS, block_size: int | None = None) -> Iterator[Array]:
    """The signs of all flips, or of random draws that are the same each time, in blocks (S, F) of -1 and 1.

    Of all 2^n flips only those that keep the first sign are made: the others give the same |u|.
    """
    dtype, _ = precision(num_seeds)
    total = num_flips(num_seeds, num_draws=num_draws)
    size = block_size or MOST_FLIPS_IN_BLOCK
    rng = np.random.default_rng(RANDOM_SEED)
    for first in range(0, total, size):
        count = min(size, total - first)
        if is_exact(num_seeds):
            # Bit s of a flip's number says whether seed s is flipped; that of the first seed is never set.
            bits = (np.arange(first, first + count) * 2)[None, :] >> np.arange(num_seeds)[:, None] & 1
        else:
            bits = rng.integers(0, 2, size=(num_seeds, count), dtype=np.int8)
        yield (1 - 2 * bits).astype(dtype)


def num_flips(num_seeds: int, *, num_draws: int = NUM_DRAWS) -> int:
    """How many flips the blocks hold together."""
    return 2 ** (num_seeds - 1) if is_exact(num_seeds) else num_draws


def p_of_counts(counts: NDArray[np.int64], num_seeds: int) -> Array:
    """From the number of flips as extreme as what was seen: their share; of draws (1 + #) / (1 + draws)."""
    total = num_flips(num_seeds)
    return counts / total if is_exact(num_seeds) else (1 + counts) / (1 + total)


def unit_rows(values_XS: Array) -> Array:
    """Rows divided by their Euclidean length; rows of zeros stay so."""
    # Divided by the largest first, so that squares neither overflow nor vanish.
    largest_X = np.abs(values_XS).max(axis=-1, keepdims=True, initial=0.0)
    scaled_XS = values_XS / np.where(largest_X > 0, largest_X, 1.0)
    length_X = np.sqrt((scaled_XS**2).sum(axis=-1, keepdims=True))
    return scaled_XS / np.where(length_X > 0, length_X, 1.0)


def sets_of_seeds(values_XS: Array) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Rows that have the same seeds: their indices, and their values without the missing seeds."""
    patterns, which_X = np.unique(~np.isnan(values_XS), axis=0, return_inverse=True)
    for index, pattern_S in enumerate(patterns):
        rows = np.flatnonzero(which_X.reshape(-1) == index)
        yield rows, values_XS[np.ix_(rows, pattern_S)]


def sign_flip_p(values_S: Array) -> Array:
    """Two-sided p of H0: the differences are symmetric about 0, by the sign-flip test of their mean.

    All 2^n flips up to n = 16, beyond that 100,000 draws of a fixed seed.

    Args:
        values_S: differences, (..., num_seeds).
    Returns: (...); NaN with fewer than two seeds or without any spread. The floor is 2 / 2^n.
    """
    flat_XS = values_S.reshape(prod(values_S.shape[:-1]), values_S.shape[-1])
    p_X = np.full(len(flat_XS), np.nan)
    has_spread_X = moments(flat_XS).sd > 0
    for rows, group_XS in sets_of_seeds(np.where(has_spread_X[:, None], flat_XS, np.nan)):
        if group_XS.shape[1] > 1:
            p_X[rows] = p_of_counts(_num_as_extreme(unit_rows(group_XS)), group_XS.shape[1])
    return p_X.reshape(values_S.shape[:-1])


def _num_as_extreme(unit_XS: Array) -> NDArray[np.int64]:
    num_rows, num_seeds = unit_XS.shape
    dtype, tolerance = precision(num_seeds)
    observed_X1 = np.abs(unit_XS.sum(axis=1, keepdims=True)) - tolerance
    counts_X = np.zeros(num_rows, dtype=np.int64)
    rows_XS = unit_XS.astype(dtype)
    for signs_SF in flip_blocks(num_seeds, block_size=flips_in_block(num_rows)):
        counts_X += (np.abs(rows_XS @ signs_SF) >= observed_X1.astype(dtype)).sum(axis=1)
    return counts_X


def flips_in_block(num_rows: int) -> int:
    """As many flips as keep a block of that many tests within bounded memory."""
    return int(np.clip(MOST_NUMBERS_IN_BLOCK // max(num_rows, 1), 64, MOST_FLIPS_IN_BLOCK))
