"""The comparison: how much each activation loses to dirt, seed by seed, and how sure that is.

Shape letters: A activations, R rates (clean first), S seeds, E epochs. D is dirty minus clean, worse is larger.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.analysis.scores import Results, oriented, score_epoch, score_runs
from shared.analysis.statistics import moments, t_interval
from shared.analysis.sweep import area_under_degradation

Array = NDArray[np.float64]

CONFIDENCE = 0.95
DEFAULT_ACCURACY_MARGIN = 0.01
DEFAULT_SHARE_OF_NULL_LOSS = 0.05
FEWEST_SEEDS = 5


@dataclass(frozen=True)
class Question:
    """What is asked of the results; `rates` are the dirty ones to report, in rising order."""

    metric: str
    score: str
    rates: tuple[float, ...]
    declared_margin: float | None
    include_curves: bool = False
    include_raw: bool = False


def compare(results: Results, question: Question) -> dict[str, Any]:
    """The comparison as plain values; numbers that do not exist are None.

    Ranks need a complete experiment: they are None as long as a run is missing.
    """
    h_ARS = score_runs(results, question.metric, question.score)
    complete = bool(results.complete_ARS.all())
    ranks = _ranks(h_ARS, results) if complete else [None] * len(results.activations)
    curves_A = _curves(results, question) if question.include_curves else None
    activations = []
    for a, label in enumerate(results.activations):
        entry: dict[str, Any] = {
            "activation": label,
            "rank": ranks[a],
            "clean": _summary(h_ARS[a, 0], question.metric),
            "conditions": [_condition(h_ARS[a], results, question, rate) for rate in question.rates],
        }
        if curves_A is not None:
            entry["curve"] = curves_A[a]
        activations.append(entry)
    answer: dict[str, Any] = {
        "complete": complete,
        "score": question.score,
        "epoch": score_epoch(question.score, results.loss_ARSE.shape[-1]),
        "num_seeds": h_ARS.shape[-1],
        "margin": _margin(results, question),
        "confidence": CONFIDENCE,
        "null_score": {"mean": _number(np.nanmean(_null_scores(results, question.metric))) if complete else None},
        "activations": activations,
        "diverged": _runs_where(results, results.diverged_ARS),
        "missing_pairs": _missing_pairs(results, h_ARS),
        "warnings": _warnings(results, h_ARS),
    }
    if question.include_raw:
        answer["raw"] = _raw(h_ARS, results, question)
    return answer


def _null_scores(results: Results, metric: str) -> Array:
    return results.null_loss_ARS if metric == "loss" else results.null_accuracy_ARS


def _margin(results: Results, question: Question) -> dict[str, Any]:
    if question.declared_margin is not None:
        return {"value": question.declared_margin, "declared": True}
    if question.metric == "accuracy":
        return {"value": DEFAULT_ACCURACY_MARGIN, "declared": False}
    known = results.null_loss_ARS[~np.isnan(results.null_loss_ARS)]
    return {"value": _number(DEFAULT_SHARE_OF_NULL_LOSS * known.mean()) if known.size else None, "declared": False}


def _in_own_unit(h: Array, metric: str) -> Array:
    return h if metric == "loss" else 1 - h


def _summary(h_S: Array, metric: str) -> dict[str, Any]:
    summary = moments(_in_own_unit(h_S, metric))
    return {"mean": _number(summary.mean), "sd": _number(summary.sd), "n": int(summary.n)}


def _condition(h_RS: Array, results: Results, question: Question, rate: float) -> dict[str, Any]:
    dirty_S, clean_S = h_RS[results.rates.index(rate)], h_RS[0]
    degradation_S = dirty_S - clean_S
    summary, (low, high) = moments(degradation_S), t_interval(degradation_S, CONFIDENCE)
    return {
        "rate": rate,
        "dirty": _summary(dirty_S, question.metric),
        "pairing_correlation": _correlation(clean_S, dirty_S),
        "degradation": {
            "mean": _number(summary.mean), "sd": _number(summary.sd),
            "ci_low": _number(low), "ci_high": _number(high),
        },
    }  # fmt: skip


def _correlation(clean_S: Array, dirty_S: Array) -> float | None:
    both = ~np.isnan(clean_S + dirty_S)
    if both.sum() < 3 or clean_S[both].std() == 0 or dirty_S[both].std() == 0:
        return None
    return _number(np.corrcoef(clean_S[both], dirty_S[both])[0, 1])


def _ranks(h_ARS: Array, results: Results) -> list[int | None]:
    """1 is the least degradation, harm below 0 counting as none; ties by the dirty score, diverged clean runs last."""
    order = np.argsort(results.rates[1:])
    rates, dirty_ARS = np.asarray(results.rates[1:])[order], h_ARS[:, 1:][:, order]
    degradation_ARS = dirty_ARS - h_ARS[:, :1]
    harm_A = (
        area_under_degradation(degradation_ARS, rates).mean(axis=-1)
        if len(rates) > 1
        else degradation_ARS[:, 0].mean(axis=-1)
    )
    fragile_A = results.diverged_ARS[:, 0].any(axis=-1)
    by_rank = np.lexsort((dirty_ARS.mean(axis=(1, 2)), np.maximum(harm_A, 0.0), fragile_A))
    ranks: list[int | None] = [None] * len(by_rank)
    for position, a in enumerate(by_rank):
        ranks[int(a)] = position + 1
    return ranks


def _curves(results: Results, question: Question) -> list[list[dict[str, Any]]]:
    """Per activation, rate and epoch: mean clean and dirty score, mean degradation with its t interval."""
    h_ARES = np.where(results.complete_ARS[..., None], oriented(results, question.metric), np.nan).swapaxes(-1, -2)
    clean_AES = h_ARES[:, 0]
    curves: list[list[dict[str, Any]]] = [[] for _ in results.activations]
    for rate in question.rates:
        dirty_AES = h_ARES[:, results.rates.index(rate)]
        degradation_AES = dirty_AES - clean_AES
        low_AE, high_AE = t_interval(degradation_AES, CONFIDENCE)
        columns = {
            "clean": moments(_in_own_unit(clean_AES, question.metric)).mean,
            "dirty": moments(_in_own_unit(dirty_AES, question.metric)).mean,
            "degradation": moments(degradation_AES).mean,
            "ci_low": low_AE,
            "ci_high": high_AE,
        }
        for a, curve in enumerate(curves):
            for e in range(h_ARES.shape[2]):
                numbers = {name: _number(values[a, e]) for name, values in columns.items()}
                curve.append({"rate": rate, "epoch": e + 1, **numbers})
    return curves


def _raw(h_ARS: Array, results: Results, question: Question) -> list[dict[str, Any]]:
    own_ARS = _in_own_unit(h_ARS, question.metric)
    return [
        {
            "activation": label, "rate": rate, "seed": seed,
            "clean": _number(own_ARS[a, 0, seed]), "dirty": _number(own_ARS[a, results.rates.index(rate), seed]),
        }
        for a, label in enumerate(results.activations)
        for rate in question.rates
        for seed in range(own_ARS.shape[-1])
    ]  # fmt: skip


def _runs_where(results: Results, mask_ARS: NDArray[np.bool_]) -> list[dict[str, Any]]:
    return [
        {"activation": results.activations[a], "rate": results.rates[r], "seed": int(seed)}
        for a, r, seed in np.argwhere(mask_ARS)
    ]


def _missing_pairs(results: Results, h_ARS: Array) -> list[dict[str, Any]]:
    missing_ARS = np.isnan(h_ARS[:, 1:] - h_ARS[:, :1])
    return _runs_where(results, np.concatenate([np.zeros_like(missing_ARS[:, :1]), missing_ARS], axis=1))


def _warnings(results: Results, h_ARS: Array) -> list[str]:
    warnings = []
    num_seeds = h_ARS.shape[-1]
    if num_seeds < FEWEST_SEEDS:
        warnings.append(f"{num_seeds} seeds are too few for a verdict: take at least {FEWEST_SEEDS}, better 10")
    if results.diverged_ARS.any():
        count = int(results.diverged_ARS.sum())
        warnings.append(
            f"{count} runs diverged; each is scored as its null score or its worst epoch, whichever is worse"
        )
    sd_AR = moments(h_ARS[:, 1:] - h_ARS[:, :1]).sd
    if num_seeds > 1 and (sd_AR == 0).any():
        warnings.append("a degradation that is the same in every seed has no interval")
    return warnings


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
