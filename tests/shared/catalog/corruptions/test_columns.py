from typing import Any

import numpy as np
import pytest
from scipy import stats

from shared.catalog.corruptions import CORRUPTIONS, Corruption, Gaussian
from shared.catalog.corruptions.columns import AddedNoise, Missing, Outlier
from tests.shared.catalog.corruptions.support import dataset_for, dirty
from tests.shared.specs import make

MANY = 4000
KINDS_OF_NOISE = [kind for kind, cls in CORRUPTIONS.items() if issubclass(cls, AddedNoise)]


def noise_of(corruption: Corruption) -> tuple[Any, Any]:
    """What was added to the inputs and to the targets of the corrupted rows."""
    rows, clean = dirty(corruption, 0.9, num_rows=MANY), dataset_for(corruption, num_rows=MANY)
    return (rows.inputs - clean.train_inputs)[rows.rows], (rows.targets - clean.train_targets)[rows.rows]


@pytest.mark.parametrize("kind", KINDS_OF_NOISE)
def test_noise_hits_only_what_it_is_told_to(kind: str) -> None:
    clean = dataset_for(Gaussian())
    both, inputs, target = (
        dirty(make(CORRUPTIONS, kind, on=on), 0.3) for on in ("inputs_and_target", "inputs", "target")
    )
    assert np.array_equal(inputs.targets, clean.train_targets)
    assert np.array_equal(target.inputs, clean.train_inputs)
    assert np.array_equal(inputs.inputs, both.inputs), "noise on one side is the noise of both, less the other's"
    assert np.array_equal(target.targets, both.targets)
    assert (both.inputs[both.rows] != clean.train_inputs[both.rows]).all(), "every input of a dirty row is noisy"
    assert (both.targets[both.rows] != clean.train_targets[both.rows]).all()


@pytest.mark.parametrize(
    ("corruption", "distribution"),
    [
        ({"kind": "gaussian"}, stats.norm(0, 0.5)),
        ({"kind": "gaussian", "sd": 2.0}, stats.norm(0, 2.0)),
        ({"kind": "heavy_tail"}, stats.t(2, scale=0.5)),
        ({"kind": "heavy_tail", "df": 5.0, "scale": 2.0}, stats.t(5, scale=2.0)),
    ],
    ids=["gaussian", "wider gaussian", "heavy tail", "lighter and wider tail"],
)
def test_noise_has_its_distribution_on_every_column_by_itself(corruption: dict[str, Any], distribution: Any) -> None:
    on_inputs, on_targets = noise_of(make(CORRUPTIONS, **corruption))
    for noise in (on_inputs.ravel(), on_targets):
        assert stats.kstest(noise, distribution.cdf).pvalue > 0.001
    columns = np.column_stack([on_inputs, on_targets])
    ranks = stats.rankdata(columns, axis=0)  # correlations of heavy tails themselves tell little
    assert np.abs(np.corrcoef(ranks.T) - np.eye(columns.shape[1])).max() < 0.1


@pytest.mark.parametrize("k", [3.0, 10.0, 100.0])
def test_outliers_lie_k_standard_deviations_off_on_either_side(k: float) -> None:
    corruption = Outlier(k=k)
    clean = dataset_for(corruption, num_rows=MANY)
    on_inputs, on_targets = noise_of(corruption)
    np.testing.assert_allclose(np.abs(on_inputs / clean.train_inputs.std(axis=0)), k)
    np.testing.assert_allclose(np.abs(on_targets / clean.train_targets.std()), k)
    for signs in (*np.sign(on_inputs).T, np.sign(on_targets)):
        assert abs(signs.mean()) < 0.08


@pytest.mark.parametrize(("share", "num_missing"), [(0.01, 1), (0.3, 2), (0.5, 3), (1.0, 6)])
def test_missing_values_of_a_row_become_the_means_of_their_columns(share: float, num_missing: int) -> None:
    corruption = Missing(share=share)
    rows, clean = dirty(corruption, 0.5, num_rows=MANY), dataset_for(corruption, num_rows=MANY)
    is_missing = rows.inputs != clean.train_inputs
    assert (is_missing[rows.rows].sum(axis=1) == num_missing).all()
    means = np.broadcast_to(clean.train_inputs.mean(axis=0), is_missing.shape)
    assert np.array_equal(rows.inputs[is_missing], means[is_missing])
    assert rows.targets is clean.train_targets


def test_values_are_missing_completely_at_random() -> None:
    corruption = Missing(share=0.5)
    rows, clean = dirty(corruption, 0.9, num_rows=MANY), dataset_for(corruption, num_rows=MANY)
    is_missing = (rows.inputs != clean.train_inputs)[rows.rows]
    assert np.abs(is_missing.mean(axis=0) - 0.5).max() < 0.04, "no column more often than another"
    values = clean.train_inputs[rows.rows]
    for k in range(values.shape[1]):
        assert stats.ks_2samp(values[is_missing[:, k], k], values[~is_missing[:, k], k]).pvalue > 0.001
