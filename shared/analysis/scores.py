"""From per-epoch metrics to one score a run: worse is larger, and a run that diverged keeps its worst.

Shape letters: A activations, R rates (clean first), S seeds, E epochs.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from shared.analysis.statistics import Array, difference, moments

LAST_EPOCHS = 5


@dataclass(frozen=True)
class Results:
    """All runs of an experiment; NaN where a run has not measured an epoch.

    `loss` and `accuracy` are on the whole validation set, `*_a` on its selection half of `num_val // 2` rows.
    `null_loss` and `null_accuracy` are those of a network that learned nothing, on the same rows. `num_measured` epochs
    of a run have rows; the last of them is the one in which it diverged, if it did. `memorization` and `recovery` need
    to be there for the epochs that the score looks at, see `epochs_looked_at`.
    """

    activations: tuple[str, ...]
    rates: tuple[float, ...]
    num_val: int
    loss_ARSE: Array
    accuracy_ARSE: Array
    loss_a_ARSE: Array
    accuracy_a_ARSE: Array
    null_loss_ARS: Array
    null_accuracy_ARS: Array
    complete_ARS: NDArray[np.bool_]
    diverged_ARS: NDArray[np.bool_]
    num_measured_ARS: NDArray[np.int64]
    memorization_ARSE: Array
    recovery_ARSE: Array

    def with_rising_rates(self) -> "Results":
        """The same with clean first and the dirty rates from the smallest to the largest."""
        order = sorted(range(len(self.rates)), key=lambda r: self.rates[r])
        if order == list(range(len(self.rates))):
            return self
        sorted_arrays = {
            field.name: getattr(self, field.name)[:, order]
            for field in fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        return replace(self, rates=tuple(self.rates[r] for r in order), **sorted_arrays)


@dataclass(frozen=True)
class Scored:
    """One score a run and what follows from it, all of it with worse is larger; NaN for runs that are not complete.

    `rates` are the dirty ones, rising. `degradation` is dirty minus clean, `magnitude` the larger of the two, by which
    its rounding noise is reckoned. `null` is that of the clean runs, `learned` null minus clean.
    """

    activations: tuple[str, ...]
    rates: tuple[float, ...]
    clean_AS: Array
    dirty_ARS: Array
    degradation_ARS: Array
    magnitude_ARS: Array
    null_AS: Array
    learned_AS: Array
    diverged_clean_AS: NDArray[np.bool_]
    diverged_dirty_ARS: NDArray[np.bool_]


def score_all(results: Results, metric: str, score: str) -> Scored:
    """Scores of all runs of results whose rates rise."""
    h_ARS = score_runs(results, metric, score)
    clean_AS, dirty_ARS = h_ARS[:, 0], h_ARS[:, 1:]
    null_AS = results.null_loss_ARS[:, 0] if metric == "loss" else 1 - results.null_accuracy_ARS[:, 0]
    return Scored(
        activations=results.activations, rates=results.rates[1:], clean_AS=clean_AS, dirty_ARS=dirty_ARS,
        degradation_ARS=difference(dirty_ARS, clean_AS[:, None]),
        magnitude_ARS=np.fmax(np.abs(dirty_ARS), np.abs(clean_AS[:, None])),
        null_AS=null_AS, learned_AS=difference(null_AS, clean_AS),
        diverged_clean_AS=results.diverged_ARS[:, 0], diverged_dirty_ARS=results.diverged_ARS[:, 1:],
    )  # fmt: skip


def oriented(results: Results, metric: str, *, selection_half: bool = False) -> Array:
    """The metric of every epoch as h, worse is larger: the loss, or 1 - accuracy; (A, R, S, E).

    From the epoch in which a run diverged on, h is the larger of its null score and its worst finite h: dropping it
    would flatter the fragile.
    """
    return _worst_from_divergence(results, metric, _measured(results, metric, selection_half=selection_half))


def _measured(results: Results, metric: str, *, selection_half: bool = False) -> Array:
    if metric == "loss":
        return results.loss_a_ARSE if selection_half else results.loss_ARSE
    return 1 - (results.accuracy_a_ARSE if selection_half else results.accuracy_ARSE)


def _worst_from_divergence(results: Results, metric: str, h_ARSE: Array) -> Array:
    if not results.diverged_ARS.any():
        return h_ARSE
    null_ARS = results.null_loss_ARS if metric == "loss" else 1 - results.null_accuracy_ARS
    worst_ARS = np.fmax(null_ARS, np.where(np.isfinite(h_ARSE), h_ARSE, -np.inf).max(axis=-1, initial=-np.inf))
    # Its last row counts as diverged even where the loss is finite: weights or training loss were not.
    epochs_E = np.arange(1, h_ARSE.shape[-1] + 1)
    from_there_on = results.diverged_ARS[..., None] & (epochs_E >= results.num_measured_ARS[..., None])
    return np.where(from_there_on, worst_ARS[..., None], h_ARSE)


def score_runs(results: Results, metric: str, score: str) -> Array:
    """One h a run, (A, R, S); NaN for runs that are not complete.

    Args:
        score: `final`; `last5`, the mean of the last five epochs; `best`, the earliest epoch that is best on the
            selection half, read on the other half; `epoch:N`, counted from 1.
    """
    if score == "best":
        h_ARS = _at(other_half(results, metric), best_epoch(results, metric))
    else:
        h_ARS = oriented(results, metric)[..., epochs_looked_at(score, results.loss_ARSE.shape[-1])].mean(axis=-1)
    return np.where(results.complete_ARS, h_ARS, np.nan)


def other_half(results: Results, metric: str) -> Array:
    """h on the rows that do not select the best epoch, with its own worst from a divergence on; (A, R, S, E)."""
    num_val, num_selection = results.num_val, results.num_val // 2
    selection_ARSE = _measured(results, metric, selection_half=True)
    with np.errstate(invalid="ignore"):  # both may be infinite where a run diverged
        h_ARSE = (num_val * _measured(results, metric) - num_selection * selection_ARSE) / (num_val - num_selection)
    return _worst_from_divergence(results, metric, h_ARSE)


def best_epoch(results: Results, metric: str) -> NDArray[np.int64]:
    """Index of the earliest epoch that is best on the selection half; (A, R, S)."""
    selection_ARSE = oriented(results, metric, selection_half=True)
    # argmin takes the earliest of equals; epochs that were not measured must not win.
    best_ARS: NDArray[np.int64] = np.where(np.isnan(selection_ARSE), np.inf, selection_ARSE).argmin(axis=-1)
    return best_ARS


def best_last_gap(results: Results, metric: str) -> Array:
    """What training on after the best epoch cost: h(last) - h(best), both on the half that did not select; (A, R, S).

    On one half, for else the halves' own difference would stand in the gap.
    """
    other_ARSE = other_half(results, metric)
    gap_ARS = difference(other_ARSE[..., -1], _at(other_ARSE, best_epoch(results, metric)))
    return np.where(results.complete_ARS, gap_ARS, np.nan)


def at_score(results: Results, values_ARSE: Array, metric: str, score: str) -> Array:
    """Another quantity of every run in the epochs that the score looks at, or their mean; (A, R, S)."""
    if score == "best":
        values_ARS = _at(values_ARSE, best_epoch(results, metric))
    else:
        values_ARS = moments(values_ARSE[..., epochs_looked_at(score, values_ARSE.shape[-1])]).mean
    return np.where(results.complete_ARS, values_ARS, np.nan)


def _at(values_ARSE: Array, epoch_ARS: NDArray[np.int64]) -> Array:
    return np.take_along_axis(values_ARSE, epoch_ARS[..., None], axis=-1)[..., 0]


def epochs_looked_at(score: str, num_epochs: int) -> slice:
    """Indices of the epochs that a score may need; all of them for `best`, where each run has its own."""
    if score == "best":
        return slice(0, num_epochs)
    last = score_epoch(score, num_epochs) or num_epochs
    return slice(max(0, last - LAST_EPOCHS) if score == "last5" else last - 1, last)


def score_epoch(score: str, num_epochs: int) -> int | None:
    """The last epoch that a score looks at; None for `best`, where each run has its own."""
    if score == "best":
        return None
    return int(score.removeprefix("epoch:")) if score.startswith("epoch:") else num_epochs
