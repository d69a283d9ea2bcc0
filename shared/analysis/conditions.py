"""Each activation at each rate: what dirt did to it, and the verdict.

Shape letters: A activations, R rates, S seeds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.analysis import statistics, verdicts
from shared.analysis.question import Question
from shared.analysis.scores import Results, Scored, at_score, best_last_gap
from shared.analysis.signflip import sign_flip_p
from shared.analysis.statistics import Array, moments, numbers, t_interval
from shared.analysis.sweep import relative_error

# A difference must exceed the margin by more than its own rounding.
BEYOND = 1 + 1e-9


@dataclass(frozen=True)
class Tests:
    """One-sided p values against the margin and what follows from them; all NaN or None before the end."""

    noninferiority_AR: Array
    inferiority_AR: Array
    equivalence_AR: Array
    verdicts: list[list[verdicts.Verdict | None]]
    learned_A: list[bool | None]


def in_own_unit(h: Array, metric: str) -> Array:
    """A score, worse is larger, back in the metric's own unit."""
    return h if metric == "loss" else 1 - h


def summary_entries(h_S: Array, metric: str) -> list[Any]:
    """Mean, SD and number of seeds for every leading index, as nested lists of the same shape."""
    summary = moments(in_own_unit(h_S, metric))
    flat = zip(summary.mean.ravel(), summary.sd.ravel(), summary.n.ravel(), strict=True)
    entries = [{"mean": statistics.number(mean), "sd": statistics.number(sd), "n": int(n)} for mean, sd, n in flat]
    listed: list[Any] = np.array(entries, dtype=object).reshape(summary.n.shape).tolist()
    return listed


def margin_tests(scored: Scored, question: Question, margin: float, *, complete: bool) -> Tests:
    """Judge every activation at every rate; Holm's adjustment is over all of them."""
    degradation_ARS, overlap = scored.degradation_ARS, question.overlap
    shape = degradation_ARS.shape[:2]
    learned_A = verdicts.learning(scored.null_AS, scored.clean_AS, confidence=question.confidence, overlap=overlap)
    if not complete:
        unknown_AR = np.full(shape, np.nan)
        nothing: list[list[verdicts.Verdict | None]] = [[None] * shape[1]] * shape[0]
        return Tests(unknown_AR, unknown_AR, unknown_AR, nothing, learned_A)
    noninferiority_AR = statistics.p_at_least(degradation_ARS, margin, overlap=overlap)
    inferiority_AR = statistics.p_at_most(degradation_ARS, margin, overlap=overlap)
    judged = verdicts.verdicts(
        noninferiority_AR, inferiority_AR, learned_A=learned_A, alpha=question.alpha,
        num_seeds_AR=moments(degradation_ARS).n,
        diverged_AR=np.any(scored.diverged_dirty_ARS | scored.diverged_clean_AS[:, None], axis=-1),
    )  # fmt: skip
    equivalence_AR = statistics.p_not_equivalent(degradation_ARS, margin, overlap=overlap)
    return Tests(noninferiority_AR, inferiority_AR, equivalence_AR, [[*row] for row in judged], learned_A)


def condition_entries(
    results: Results, scored: Scored, question: Question, tests: Tests, margin: float
) -> list[list[dict[str, Any]]]:
    """For each activation one entry of the answer a rate, for all rates of the sweep."""
    low_AR, high_AR = t_interval(scored.degradation_ARS, question.confidence, overlap=question.overlap)
    columns = {
        "rate": [list(scored.rates)] * len(scored.activations),
        "dirty": summary_entries(scored.dirty_ARS, question.metric),
        "pairing_correlation": numbers(statistics.correlation(scored.clean_AS[:, None], scored.dirty_ARS)),
        "degradation": _degradation(scored, question, low_AR, high_AR, tested=tests.verdicts[0][0] is not None),
        "normalized": _normalized(scored, question),
        "noninferiority_p": numbers(tests.noninferiority_AR),
        "inferiority_p": numbers(tests.inferiority_AR),
        "equivalence_p": numbers(tests.equivalence_AR),
        "verdict": tests.verdicts,
        "provisional": _provisional(tests, question),
        "smallest_margin": numbers(high_AR),
        "share_beyond_margin": _share_beyond(scored, question, margin),
        **_training_effects(results, scored, question),
        "relative_error": _relative_errors(scored, question),
    }
    return [[{name: column[a][r] for name, column in columns.items()} for r in range(len(scored.rates))]
            for a in range(len(scored.activations))]  # fmt: skip


def _entries(**columns: Array | NDArray[np.int64]) -> list[list[dict[str, float | None]]]:
    """Arrays (A, R) as objects with one number of each; counts stay whole."""
    listed = {
        name: column.tolist() if np.issubdtype(column.dtype, np.integer) else numbers(column)
        for name, column in columns.items()
    }
    num_activations, num_rates = next(iter(columns.values())).shape
    return [[{name: column[a][r] for name, column in listed.items()} for r in range(num_rates)]
            for a in range(num_activations)]  # fmt: skip


def _degradation(scored: Scored, question: Question, low_AR: Array, high_AR: Array, *, tested: bool) -> Any:
    degradation_ARS = scored.degradation_ARS
    summary = moments(degradation_ARS)
    # Seeds whose splits overlap are not independent, so that their signs cannot be flipped one by one.
    flips = tested and not question.overlap
    return _entries(
        mean=summary.mean, sd=summary.sd, n=summary.n, iqm=statistics.interquartile_mean(degradation_ARS),
        ci_low=low_AR, ci_high=high_AR,
        p_value=sign_flip_p(degradation_ARS) if flips else np.full(summary.mean.shape, np.nan),
        effect_size=statistics.hedges_g(degradation_ARS),
    )  # fmt: skip


def _normalized(scored: Scored, question: Question) -> Any:
    learned_ARS = np.broadcast_to(scored.learned_AS[:, None], scored.degradation_ARS.shape)
    ratio = statistics.ratio_of_means(
        scored.degradation_ARS, learned_ARS, question.confidence, overlap=question.overlap
    )
    return _entries(value=ratio.value, ci_low=ratio.low, ci_high=ratio.high)


def _provisional(tests: Tests, question: Question) -> list[list[bool]]:
    undeclared = question.declared_margin is None
    return [[undeclared and verdict is not None for verdict in row] for row in tests.verdicts]


def _share_beyond(scored: Scored, question: Question, margin: float) -> Any:
    n_AR = moments(scored.degradation_ARS).n
    beyond_AR = (scored.degradation_ARS > margin * BEYOND).sum(axis=-1)
    known_AR = (n_AR > 0) & np.isfinite(margin)
    low_AR, high_AR = statistics.clopper_pearson(beyond_AR, n_AR, question.confidence)
    independent_AR = known_AR & (not question.overlap)
    return _entries(
        value=np.where(known_AR, beyond_AR / np.maximum(n_AR, 1), np.nan),
        ci_low=np.where(independent_AR, low_AR, np.nan), ci_high=np.where(independent_AR, high_AR, np.nan),
    )  # fmt: skip


def _training_effects(results: Results, scored: Scored, question: Question) -> dict[str, Any]:
    """What the dirty run went through: gap between its best and its last epoch, memory of the dirt."""
    paired_ARS = ~np.isnan(scored.degradation_ARS)
    gap_ARS = best_last_gap(results, question.metric)
    clean_AR, dirty_AR = (
        moments(np.where(paired_ARS, part_ARS, np.nan)).mean for part_ARS in (gap_ARS[:, :1], gap_ARS[:, 1:])
    )
    memory = {
        name: numbers(moments(at_score(results, values_ARSE, question.metric, question.score)[:, 1:]).mean)
        for name, values_ARSE in (("memorization", results.memorization_ARSE), ("recovery", results.recovery_ARSE))
    }
    return {"best_last_gap": _entries(clean=clean_AR, dirty=dirty_AR), **memory}


def _relative_errors(scored: Scored, question: Question) -> Any:
    return numbers(relative_to(scored.dirty_ARS[:, :, None], scored.activations, question.reference))


def relative_to(h_ARS: Array, activations: tuple[str, ...], reference: str | None) -> Array:
    """Relative error of (A, ..., R, S) against the activation of that label; NaN without one."""
    if reference is None:
        return np.full(h_ARS.shape[:-2], np.nan)
    return relative_error(h_ARS, h_ARS[activations.index(reference)])
