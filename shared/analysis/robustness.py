"""The comparison: how much each activation loses to dirt, seed by seed, and how sure that is.

Definitions in the modules beside: scores.py (from epochs to one score a run), conditions.py (each activation at each
rate), pairs.py, curves.py, sweep.py, verdicts.py. Shape letters: A activations, R rates (clean first), S seeds,
E epochs. Degradation is dirty minus clean, worse is larger.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.analysis import pairs, verdicts
from shared.analysis.conditions import (
    Tests,
    condition_entries,
    in_own_unit,
    margin_tests,
    relative_to,
    summary_entries,
)
from shared.analysis.curves import simultaneous_band
from shared.analysis.margin import margin_used, mean_null
from shared.analysis.question import CONFIDENCE, Question
from shared.analysis.scores import Results, Scored, oriented, score_all, score_epoch
from shared.analysis.statistics import Array, difference, moments, number, numbers, t_interval
from shared.analysis.sweep import area_under_degradation, breakdown_rate
from shared.analysis.warnings import warnings_about

__all__ = ["CONFIDENCE", "Question", "compare"]


def compare(results: Results, question: Question) -> dict[str, Any]:
    """The comparison as plain values; numbers that do not exist are None.

    Verdicts, p values and ranks need a complete experiment: they are None as long as a run is missing.
    """
    results = results.with_rising_rates()
    complete = question.is_final and bool(results.complete_ARS.all())
    scored = score_all(results, question.metric, question.score)
    margin = margin_used(results, question.metric, question.declared_margin)
    tests = margin_tests(scored, question, margin, complete=complete)
    conditions = condition_entries(results, scored, question, tests, margin)
    primary = pairs.primary_family(scored)
    compared = pairs.compare_pairs(primary, tested=complete and not question.overlap)
    answer: dict[str, Any] = {
        "complete": complete,
        **({"approximate": True} if question.overlap else {}),
        "score": question.score,
        "epoch": score_epoch(question.score, results.loss_ARSE.shape[-1]),
        "num_seeds": scored.clean_AS.shape[-1],
        "margin": {"value": number(margin), "declared": question.declared_margin is not None},
        "confidence": question.confidence,
        "null_score": {"mean": number(mean_null(results, question.metric)) if complete else None},
        "activations": _activations(scored, question, conditions, _ranks(scored, question, tests, compared, complete)),
        "diverged": _runs_where(results, results.diverged_ARS),
        "missing_pairs": _missing_pairs(results, scored),
        "warnings": warnings_about(scored, question, tests.learned_A if complete else []),
    }
    if question.include_curves:
        for entry, curve in zip(answer["activations"], _curves(results, question), strict=True):
            entry["curve"] = curve
    if question.include_pairs:
        answer["pairs"] = _pairs(scored, question, primary, compared, complete=complete)
    if question.include_raw:
        answer["raw"] = _raw(scored, question)
    return answer


def _activations(
    scored: Scored, question: Question, conditions: list[list[dict[str, Any]]], ranks: list[dict[str, int | None]]
) -> list[dict[str, Any]]:
    clean = summary_entries(scored.clean_AS, question.metric)
    wanted = [scored.rates.index(rate) for rate in question.rates]
    rates = np.array(scored.rates)
    area_AS = area_under_degradation(scored.degradation_ARS, rates)
    low_A, high_A = t_interval(area_AS, question.confidence, overlap=question.overlap)
    area = zip(*(numbers(part) for part in (moments(area_AS).mean, low_A, high_A)), strict=True)
    errors = numbers(relative_to(scored.dirty_ARS, scored.activations, question.reference))
    breakdowns = _breakdowns(scored, question)
    return [
        {
            "activation": label,
            **ranks[a],
            "clean": clean[a],
            "conditions": [conditions[a][r] for r in wanted],
            "audc": dict(zip(("mean", "ci_low", "ci_high"), ends, strict=True)),
            "breakdown_rate": breakdowns[a],
            "relative_error": errors[a],
        }
        for a, (label, ends) in enumerate(zip(scored.activations, area, strict=True))
    ]


def _breakdowns(scored: Scored, question: Question) -> list[dict[str, float | None]]:
    found = breakdown_rate(
        scored.degradation_ARS, scored.learned_AS, np.array(scored.rates),
        confidence=question.confidence, overlap=question.overlap,
    )  # fmt: skip
    rows = zip(numbers(found.value), numbers(found.low), numbers(found.high), found.censored, strict=True)
    return [
        {"value": value, "ci_low": low, "ci_high": high, "censored_above": scored.rates[-1] if censored else None}
        for value, low, high, censored in rows
    ]


def _ranks(
    scored: Scored, question: Question, tests: Tests, compared: pairs.PairTests, complete: bool
) -> list[dict[str, int | None]]:
    """The place of each activation and between which places it may stand, by the primary family."""
    num = len(scored.activations)
    if not complete:
        return [{"rank": None, "rank_low": None, "rank_high": None}] * num
    harm_A = moments(area_under_degradation(scored.degradation_ARS, np.array(scored.rates))).mean
    dirty_A = moments(scored.dirty_ARS).mean.mean(axis=-1)
    not_learned_A = [learned is False for learned in tests.learned_A]
    fragile_A = np.any(scored.diverged_clean_AS, axis=-1)
    ranks = verdicts.ranks(harm_A, dirty_A, not_learned_A=not_learned_A, fragile_A=fragile_A)
    if question.overlap:
        return [{"rank": rank, "rank_low": None, "rank_high": None} for rank in ranks]
    # Who comes behind all others by rule has no place to lose, and says nothing about theirs.
    counted_A = ~(np.array(not_learned_A) | fragile_A)
    low_A, high_A = pairs.rank_ends(compared, verdicts.harm_levels(harm_A, dirty_A), counted_A, question.alpha)
    low_A, high_A = np.where(counted_A, low_A, num), np.where(counted_A, high_A, num)
    # The rank is by the mean alone, with negative harm as none: the ends make room for it.
    return [
        {"rank": rank, "rank_low": min(rank, int(low)), "rank_high": max(rank, int(high))}
        for rank, low, high in zip(ranks, low_A, high_A, strict=True)
    ]


def _pairs(
    scored: Scored, question: Question, primary: pairs.Family, compared: pairs.PairTests, *, complete: bool
) -> list[dict[str, Any]]:
    entries = pairs.pair_entries(primary, compared, scored, question, is_primary=True)
    for family in pairs.exploratory_families(scored, question.rates):
        tests = pairs.compare_pairs(family, tested=complete and not question.overlap)
        entries += pairs.pair_entries(family, tests, scored, question, is_primary=False)
    return entries


def _curves(results: Results, question: Question) -> list[list[dict[str, Any]]]:
    """Per activation, rate and epoch: mean clean and dirty score, mean degradation with interval and band."""
    h_ARES = np.where(results.complete_ARS[..., None], oriented(results, question.metric), np.nan).swapaxes(-1, -2)
    clean_AES = h_ARES[:, 0]
    curves: list[list[dict[str, Any]]] = [[] for _ in results.activations]
    epochs = range(1, h_ARES.shape[2] + 1)
    for rate in question.rates:
        columns = _curve_columns(clean_AES, h_ARES[:, results.rates.index(rate)], question)
        names = ("rate", "epoch", *columns)
        listed = [numbers(column_AE) for column_AE in columns.values()]
        for a, curve in enumerate(curves):
            rows = zip(epochs, *(column[a] for column in listed), strict=True)
            curve += [dict(zip(names, (rate, *row), strict=True)) for row in rows]
    return curves


def _curve_columns(clean_AES: Array, dirty_AES: Array, question: Question) -> dict[str, Array]:
    degradation_AES = difference(dirty_AES, clean_AES)
    low_AE, high_AE = t_interval(degradation_AES, question.confidence, overlap=question.overlap)
    if question.overlap:
        band_low_AE, band_high_AE = np.full((2, *low_AE.shape), np.nan)
    else:
        band_low_AE, band_high_AE = simultaneous_band(degradation_AES, question.confidence)
    return {
        "clean": moments(in_own_unit(clean_AES, question.metric)).mean,
        "dirty": moments(in_own_unit(dirty_AES, question.metric)).mean,
        "degradation": moments(degradation_AES).mean,
        "ci_low": low_AE, "ci_high": high_AE, "band_low": band_low_AE, "band_high": band_high_AE,
    }  # fmt: skip


def _raw(scored: Scored, question: Question) -> list[dict[str, Any]]:
    clean, dirty = (numbers(in_own_unit(part, question.metric)) for part in (scored.clean_AS, scored.dirty_ARS))
    return [
        {"activation": label, "rate": rate, "seed": seed, "clean": clean[a][seed], "dirty": dirty[a][r][seed]}
        for a, label in enumerate(scored.activations)
        for r, rate in enumerate(scored.rates)
        if rate in question.rates
        for seed in range(scored.clean_AS.shape[-1])
    ]


def _runs_where(results: Results, mask_ARS: NDArray[np.bool_]) -> list[dict[str, Any]]:
    return [
        {"activation": results.activations[a], "rate": results.rates[r], "seed": int(seed)}
        for a, r, seed in np.argwhere(mask_ARS)
    ]


def _missing_pairs(results: Results, scored: Scored) -> list[dict[str, Any]]:
    missing_ARS = np.isnan(scored.degradation_ARS)
    return _runs_where(results, np.concatenate([np.zeros_like(missing_ARS[:, :1]), missing_ARS], axis=1))
