"""From per-epoch metrics to one score a run: worse is larger, and a run that diverged keeps its worst.

Shape letters: A activations, R rates (clean first), S seeds, E epochs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LAST_EPOCHS = 5


@dataclass(frozen=True)
class Results:
    """All runs of an experiment; NaN where a run has not measured an epoch.

    `loss` and `accuracy` are on the whole validation set, `*_a` on its selection half of `num_val // 2` rows.
    `null_loss` and `null_accuracy` are those of a network that learned nothing, on the same rows. `num_measured` epochs
    of a run have rows; the last of them is the one in which it diverged, if it did.
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


def oriented(results: Results, metric: str, *, selection_half: bool = False) -> Array:
    """The metric of every epoch as h, worse is larger: the loss, or 1 - accuracy; (A, R, S, E).

    From the epoch in which a run diverged on, h is the larger of its null score and its worst finite h: dropping it
    would flatter the fragile.
    """
    if metric == "loss":
        h_ARSE = results.loss_a_ARSE if selection_half else results.loss_ARSE
        null_ARS = results.null_loss_ARS
    else:
        h_ARSE = 1 - (results.accuracy_a_ARSE if selection_half else results.accuracy_ARSE)
        null_ARS = 1 - results.null_accuracy_ARS
    worst_ARS = np.fmax(null_ARS, np.fmax.reduce(h_ARSE, axis=-1, initial=-np.inf))
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
    h_ARSE = oriented(results, metric)
    if score == "final":
        h_ARS = h_ARSE[..., -1]
    elif score == "last5":
        h_ARS = h_ARSE[..., -LAST_EPOCHS:].mean(axis=-1)
    elif score == "best":
        h_ARS = _best(h_ARSE, oriented(results, metric, selection_half=True), results.num_val)
    else:
        h_ARS = h_ARSE[..., int(score.removeprefix("epoch:")) - 1]
    return np.where(results.complete_ARS, h_ARS, np.nan)


def _best(h_ARSE: Array, selection_ARSE: Array, num_val: int) -> Array:
    num_selection = num_val // 2
    other_ARSE = (num_val * h_ARSE - num_selection * selection_ARSE) / (num_val - num_selection)
    # argmin takes the earliest of equals; epochs that were not measured must not win.
    best_ARS = np.where(np.isnan(selection_ARSE), np.inf, selection_ARSE).argmin(axis=-1)
    return np.take_along_axis(other_ARSE, best_ARS[..., None], axis=-1)[..., 0]


def score_epoch(score: str, num_epochs: int) -> int | None:
    """The last epoch that a score looks at; None for `best`, where each run has its own."""
    if score == "best":
        return None
    return int(score.removeprefix("epoch:")) if score.startswith("epoch:") else num_epochs
