"""What is known of dirt on MNIST must come out of training on it."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from shared.spec import resolve
from shared.training.engine import Engines
from tests.shared.training.populations import ENGINES, all_members, finish

HALF_DIRTY = 0.45


def dirty_accuracy(corruption: str, datasets_dir: Path) -> float:
    """Mean validation accuracy after training with nearly every second label wrong."""
    spec = resolve({
        "dataset": {"kind": "mnist", "train_size": 6000, "val_size": 3000, "image_size": 28, "pixels": "0-1"},
        "architecture": {"kind": "mlp", "hidden": [128, 64]},
        "corruption": {"kind": corruption, "rates": [HALF_DIRTY]},
        "activations": ["relu"], "training": {"epochs": 5, "engine": "compiled"}, "num_seeds": 3,
    })  # fmt: skip
    engines = Engines(toolchain=ENGINES.toolchain, datasets_dir=datasets_dir)
    activation, members = spec.activations[0], all_members(spec)
    population = engines.build(spec, activation, members, engines.decide(spec, activation, members))
    last: dict[int, Any] = {record.member: record for record in finish(population)}
    return fmean(last[k].val_accuracy for k, member in enumerate(members) if member.rate == HALF_DIRTY)


@pytest.mark.mnist
def test_labels_that_err_towards_one_class_harm_more_than_those_that_err_anywhere(datasets_dir: Path) -> None:
    pairflip, symmetric = (dirty_accuracy(kind, datasets_dir) for kind in ("pairflip", "symmetric"))
    assert symmetric > 0.75
    assert pairflip < symmetric - 0.1
