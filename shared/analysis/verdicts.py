"""Verdicts and ranks: what may be said of an activation. Shape letters: A activations, R rates, S seeds."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.analysis.multiplicity import holm
from shared.analysis.statistics import Array, moments, t_interval

FEWEST_SEEDS = 5
# What has not beaten the null score by a tenth has learned nothing that could be lost.
SHARE_OF_NULL = 0.9
# Of the scores: a thousand times their settled rounding, and a hundredth of what one row of a large set changes.
RANK_TOLERANCE = 2.0**-32


class Verdict(StrEnum):
    """Whether dirt does harm beyond the margin."""

    ROBUST = "robust"
    HARMED = "harmed"
    NOT_LEARNED = "not_learned"
    INCONCLUSIVE = "inconclusive"


def learning(null_AS: Array, clean_AS: Array, *, confidence: float, overlap: float = 0.0) -> list[bool | None]:
    """Whether each activation learned something from clean data: 0.9 null - clean is above 0 (True) or below (False).

    None where its t interval contains 0, or with fewer than five seeds.
    """
    lead_AS = SHARE_OF_NULL * null_AS - clean_AS
    summary = moments(lead_AS)
    low_A, high_A = t_interval(lead_AS, confidence, overlap=overlap)
    # The same lead in every seed has no interval, but a side.
    low_A, high_A = (np.where(summary.sd == 0, summary.mean, end_A) for end_A in (low_A, high_A))
    enough_A = summary.n >= FEWEST_SEEDS
    return [
        None if not enough or not (low > 0 or high < 0) else bool(low > 0)
        for enough, low, high in zip(enough_A, low_A, high_A, strict=True)
    ]


def verdicts(  # noqa: PLR0913 (one argument a rule)
    noninferiority_AR: Array,
    inferiority_AR: Array,
    *,
    learned_A: list[bool | None],
    num_seeds_AR: NDArray[np.int64],
    diverged_AR: NDArray[np.bool_],
    alpha: float,
) -> list[list[Verdict]]:
    """The verdict on each activation at each rate, Holm-adjusted over all of them.

    Args:
        noninferiority_AR: p of H0: the degradation is at least the margin; NaN where there is none.
        inferiority_AR: p of H0: it is at most the margin.
        learned_A: see `learning`.
        diverged_AR: whether a run of that condition, clean or dirty, diverged.
    """
    robust_AR = (holm(noninferiority_AR) <= alpha / 2) & ~diverged_AR
    harmed_AR = holm(inferiority_AR) <= alpha / 2

    def verdict(a: int, r: int) -> Verdict:
        if num_seeds_AR[a, r] < FEWEST_SEEDS or learned_A[a] is None:
            return Verdict.INCONCLUSIVE
        if not learned_A[a]:
            return Verdict.NOT_LEARNED
        if robust_AR[a, r]:
            return Verdict.ROBUST
        return Verdict.HARMED if harmed_AR[a, r] else Verdict.INCONCLUSIVE

    num_activations, num_rates = noninferiority_AR.shape
    return [[verdict(a, r) for r in range(num_rates)] for a in range(num_activations)]


def ranks(harm_A: Array, dirty_A: Array, *, not_learned_A: list[bool], fragile_A: NDArray[np.bool_]) -> list[int]:
    """Places from 1: the least harm first, harm below 0 counting as none; ties by the dirty score, then as given.

    Args:
        harm_A: mean area under the degradation, or mean degradation at the only rate.
        dirty_A: mean dirty score, worse is larger.
        not_learned_A: these come behind all that learned.
        fragile_A: a clean run diverged; these come last of all.
    """
    dirty_levels_A = _levels(dirty_A, magnitude_A=np.abs(dirty_A))
    order = np.lexsort((dirty_levels_A, harm_levels(harm_A, dirty_A), np.array(not_learned_A), fragile_A))
    places = np.empty(len(order), dtype=int)
    places[order] = np.arange(1, len(order) + 1)
    listed: list[int] = places.tolist()
    return listed


def harm_levels(harm_A: Array, dirty_A: Array) -> NDArray[np.int64]:
    """Harm in whole numbers from 0, the same for what is equal on paper; harm below 0 counts as none."""
    harm_A = np.maximum(harm_A, 0.0)
    return _levels(harm_A, magnitude_A=harm_A + np.abs(dirty_A))


def _levels(values_A: Array, *, magnitude_A: Array) -> NDArray[np.int64]:
    """Values in whole numbers from 0: the rounding noise of scores as large as `magnitude_A` must not decide a rank.

    Two neighbours are equal where they differ by no more than the noise of the one with the smaller scores, so that a
    diverged run of 1e300 makes nobody else equal.
    """
    order = np.argsort(values_A, kind="stable")
    noise_A = RANK_TOLERANCE * magnitude_A[order]
    with np.errstate(invalid="ignore"):
        is_same = np.diff(values_A[order]) <= np.minimum(noise_A[1:], noise_A[:-1])
    levels_A = np.zeros(len(order), dtype=np.int64)
    levels_A[order[1:]] = np.cumsum(~is_same)
    return levels_A
