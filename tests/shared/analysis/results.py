"""Results of imagined experiments, written down as small arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from shared.analysis.scores import Results


def results(
    loss: Any,
    *,
    accuracy: Any = None,
    loss_a: Any = None,
    accuracy_a: Any = None,
    rates: Sequence[float] = (0.0, 0.1),
    labels: Sequence[str] | None = None,
    null_loss: Any = 1.0,
    null_accuracy: Any = np.nan,
    complete: Any = True,
    diverged: Any = False,
    num_measured: Any = None,
    num_val: int = 10,
    memorization: Any = np.nan,
    recovery: Any = np.nan,
) -> Results:
    """Results of `loss` (A, R, S, E); what is left out is NaN, or as the whole validation set."""
    loss_ARSE = np.array(loss, dtype=float)
    shape = loss_ARSE.shape

    def filled(values: Any, default: Any) -> Any:
        return np.broadcast_to(np.asarray(default if values is None else values, dtype=float), shape).copy()

    accuracy_ARSE = filled(accuracy, np.nan)
    measured_ARSE = ~(np.isnan(loss_ARSE) & np.isnan(accuracy_ARSE))
    diverged_ARS = np.broadcast_to(np.asarray(diverged, dtype=bool), shape[:3]).copy()
    # An epoch in which a run diverges has a row whose loss is not finite.
    if num_measured is None:
        num_measured = measured_ARSE.sum(axis=-1) + (diverged_ARS & np.isnan(accuracy_ARSE).all(axis=-1))
    return Results(
        activations=tuple(labels or [f"act{index}" for index in range(shape[0])]),
        rates=tuple(rates),
        num_val=num_val,
        loss_ARSE=loss_ARSE,
        accuracy_ARSE=accuracy_ARSE,
        loss_a_ARSE=filled(loss_a, loss_ARSE),
        accuracy_a_ARSE=filled(accuracy_a, accuracy_ARSE),
        null_loss_ARS=np.broadcast_to(np.asarray(null_loss, dtype=float), shape[:3]).copy(),
        null_accuracy_ARS=np.broadcast_to(np.asarray(null_accuracy, dtype=float), shape[:3]).copy(),
        complete_ARS=np.broadcast_to(np.asarray(complete, dtype=bool), shape[:3]).copy(),
        diverged_ARS=diverged_ARS,
        num_measured_ARS=np.broadcast_to(np.asarray(num_measured, dtype=int), shape[:3]).copy(),
        memorization_ARSE=filled(memorization, np.nan),
        recovery_ARSE=filled(recovery, np.nan),
    )
