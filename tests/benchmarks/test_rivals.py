from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from benchmarks.engine import Workshop, train_job
from benchmarks.rivals import RIVALS, Train, load_rival
from benchmarks.rivals.cells import cells_of, load_rows
from shared.catalog.activations import ACTIVATIONS
from shared.catalog.presets import STUDY_ACTIVATIONS
from shared.plan import plan
from shared.spec import ExperimentSpec
from shared.training.data import Preparation, load_members
from shared.training.population import Member
from tests.shared.specs import TINY_CLASSIFICATION, make, tiny

NOWHERE = Path("nowhere")
SMALL_REGRESSION: Mapping[str, Any] = {
    "dataset": {"train_size": 500, "val_size": 200},
    "architecture": {"hidden": [16, 8]},
    "training": {"epochs": 8},
    "num_seeds": 1,
}
SMALL_IMAGES: Mapping[str, Any] = {
    "dataset": {"train_size": 200, "image_size": 64},
    "architecture": {"kind": "harrison_cnn"},
    "training": {"epochs": 3, "schedule": {"kind": "step"}},
    "num_seeds": 1,
}


def rival(name: str) -> Train:
    """A rival whose packages are installed."""
    try:
        return load_rival(name)
    except ImportError as error:
        pytest.skip(f"the extra 'bench' is not installed: {error}")


def val_losses(name: str, spec: ExperimentSpec) -> list[list[float]]:
    cells = cells_of(spec)
    outcome = rival(name)(spec, cells, load_rows(spec, cells, datasets_dir=NOWHERE))
    assert [len(losses) for losses in outcome.val_losses] == [spec.training.epochs] * len(cells)
    assert (outcome.compile_s > 0) == (name == "jax_vmap")
    return outcome.val_losses


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_learns_what_the_engine_learns(name: str) -> None:
    spec = tiny(**SMALL_REGRESSION, activations=["prelu"])
    losses = val_losses(name, spec)
    assert all(each[-1] < 0.7 * each[0] for each in losses)
    workshop = Workshop("serial", NOWHERE, NOWHERE)
    ours = [each for job in plan(spec).jobs for each in train_job(spec, job, workshop).val_losses.values()]
    assert fmean(each[-1] for each in losses) == pytest.approx(fmean(each[-1] for each in ours), rel=0.3)


@pytest.mark.parametrize("name", [name for name, architectures in RIVALS.items() if "harrison_cnn" in architectures])
def test_a_rival_for_images_learns(name: str) -> None:
    losses = val_losses(name, tiny(TINY_CLASSIFICATION, **SMALL_IMAGES))
    assert all(each[-1] < each[0] for each in losses)


@pytest.mark.parametrize("kind", STUDY_ACTIVATIONS)
def test_activations_in_jax_are_those_of_the_catalog(kind: str) -> None:
    import torch

    rival("jax_vmap")
    from benchmarks.rivals.jax_vmap import FUNCTIONS

    activation = make(ACTIVATIONS, kind)
    x = np.linspace(-3, 3, 25, dtype=np.float32)
    expected = activation.build()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(FUNCTIONS[kind](activation)(x, 0.25), expected, atol=1e-6)


def test_every_rival_sees_the_rows_that_the_engine_sees() -> None:
    import torch

    spec = tiny(TINY_CLASSIFICATION, dataset={"image_size": 16}, architecture={"hidden": [8]})
    cells = cells_of(spec)
    members = [Member(cell.rate, cell.seed) for cell in cells]
    for rows, ours in zip(
        load_rows(spec, cells, datasets_dir=NOWHERE),
        load_members(spec, members, datasets_dir=NOWHERE, device=torch.device("cpu")),
        strict=True,
    ):
        prepare: Preparation = ours.prepare
        np.testing.assert_allclose(rows.train_inputs, prepare(ours.train_inputs), atol=1e-5)
        np.testing.assert_array_equal(rows.train_targets, ours.train_targets)
        np.testing.assert_allclose(rows.val_inputs, prepare(ours.val_inputs), atol=1e-5)


def test_rows_that_do_not_differ_are_held_once() -> None:
    spec = tiny(activations=["relu", "tanh"], num_seeds=1)
    clean, dirty, clean_again, _ = load_rows(spec, cells_of(spec), datasets_dir=NOWHERE)
    assert clean is clean_again
    assert clean.val_inputs is dirty.val_inputs
    assert clean.train_inputs is not dirty.train_inputs
