"""Pairs of activations, seed by seed. Shape letters: A activations, P pairs, R rates, S seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.analysis.multiplicity import step_down
from shared.analysis.question import Question
from shared.analysis.scores import Scored
from shared.analysis.statistics import (
    Array,
    clopper_pearson,
    hedges_g,
    moments,
    numbers,
    settled,
    t_interval,
)
from shared.analysis.sweep import area_under_degradation

# Two settled values may each be half a step off; a difference of theirs is settled on a grid that is coarser than both.
COARSER = 4.0


@dataclass(frozen=True)
class Family:
    """Values that all pairs of activations are compared by; the p values are adjusted over these pairs.

    `of` is `degradation` or `dirty` at a rate, or `audc`, the area under the degradation, which has none.
    """

    of: str
    rate: float | None
    values_AS: Array
    magnitude_AS: Array


@dataclass(frozen=True)
class PairTests:
    """All pairs a < b of a family, by the order of the activations; `difference` is a minus b."""

    a_P: NDArray[np.int64]
    b_P: NDArray[np.int64]
    difference_PS: Array
    p_P: Array
    adjusted_P: Array


def primary_family(scored: Scored) -> Family:
    """The degradation at the only rate, or the area under it where there are several."""
    if len(scored.rates) == 1:
        return _degradation(scored, 0)
    area_AS = area_under_degradation(scored.degradation_ARS, np.array(scored.rates))
    return Family("audc", None, area_AS, scored.magnitude_ARS.max(axis=1))


def exploratory_families(scored: Scored, rates: tuple[float, ...]) -> Iterator[Family]:
    """Degradation and dirty score at each of these rates, but for the primary family."""
    for rate in rates:
        r = scored.rates.index(rate)
        if len(scored.rates) > 1:
            yield _degradation(scored, r)
        yield Family("dirty", rate, scored.dirty_ARS[:, r], np.abs(scored.dirty_ARS[:, r]))


def _degradation(scored: Scored, r: int) -> Family:
    return Family("degradation", scored.rates[r], scored.degradation_ARS[:, r], scored.magnitude_ARS[:, r])


def compare_pairs(family: Family, *, tested: bool) -> PairTests:
    """Compare all pairs of a family.

    Args:
        tested: whether p values are wanted; they are NaN otherwise.
    """
    a_P, b_P = np.triu_indices(len(family.values_AS), k=1)
    magnitude_PS = COARSER * np.fmax(family.magnitude_AS[a_P], family.magnitude_AS[b_P])
    difference_PS = settled(family.values_AS[a_P] - family.values_AS[b_P], magnitude=magnitude_PS)
    p_P, adjusted_P = step_down(difference_PS) if tested else np.full((2, len(a_P)), np.nan)
    return PairTests(a_P, b_P, difference_PS, p_P, adjusted_P)


def pair_entries(
    family: Family, tests: PairTests, scored: Scored, question: Question, *, is_primary: bool
) -> list[dict[str, Any]]:
    """One entry of the answer for each pair."""
    low_P, high_P = t_interval(tests.difference_PS, question.confidence, overlap=question.overlap)
    columns = {
        "difference": moments(tests.difference_PS).mean, "ci_low": low_P, "ci_high": high_P,
        "effect_size": hedges_g(tests.difference_PS), "p_value": tests.p_P, "p_adjusted": tests.adjusted_P,
    }  # fmt: skip
    rows = zip(*(numbers(column) for column in columns.values()), strict=True)
    shares = zip(*(numbers(column) for column in _share_lower(tests.difference_PS, question)), strict=True)
    # What was chosen in the query, after the results could be seen, is exploratory altogether.
    name = "primary" if is_primary and not question.exploratory else "exploratory"
    about = {"rate": family.rate, "of": family.of, "family": name}
    labels = scored.activations
    return [
        {"a": labels[a], "b": labels[b], **about, **dict(zip(columns, row, strict=True)),
         "probability_a_lower": dict(zip(("value", "ci_low", "ci_high"), share, strict=True))}
        for a, b, row, share in zip(tests.a_P, tests.b_P, rows, shares, strict=True)
    ]  # fmt: skip


def _share_lower(difference_PS: Array, question: Question) -> tuple[Array, Array, Array]:
    """Share of seeds in which a is lower, ties counting half, with its interval."""
    if question.overlap:
        unknown_P = np.full(len(difference_PS), np.nan)
        return unknown_P, unknown_P, unknown_P
    n_P = (~np.isnan(difference_PS)).sum(axis=1)
    lower_P = (difference_PS < 0).sum(axis=1) + 0.5 * (difference_PS == 0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_P = np.where(n_P > 0, lower_P / n_P, np.nan)
    return share_P, *clopper_pearson(lower_P, n_P, question.confidence)


def rank_ends(
    tests: PairTests, level_A: NDArray[np.int64], counted_A: NDArray[np.bool_], alpha: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Between which places an activation may stand: 1 + number significantly better, A - number significantly worse.

    Args:
        level_A: see `verdicts.harm_levels`. Who has no harm is no better than another who has none.
        counted_A: who may be better or worse than others at all.
    """
    num_activations = len(level_A)
    a_P, b_P = tests.a_P, tests.b_P
    significant_P = (tests.adjusted_P <= alpha) & (level_A[a_P] != level_A[b_P]) & counted_A[a_P] & counted_A[b_P]
    a_lower_P = level_A[a_P] < level_A[b_P]
    lower_P, higher_P = np.where(a_lower_P, a_P, b_P), np.where(a_lower_P, b_P, a_P)
    better_A = np.bincount(higher_P[significant_P], minlength=num_activations)
    worse_A = np.bincount(lower_P[significant_P], minlength=num_activations)
    return 1 + better_A, num_activations - worse_A
