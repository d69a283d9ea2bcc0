import numpy as np
import torch

from shared.catalog.modules import Dropout
from tests.shared.noise import Draws


def dropout(p: float, seed: int = 0) -> Dropout:
    module = Dropout(p)
    module.noise = Draws(seed)
    return module


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    dropped = dropout(0.25)(torch.ones(200, 200, dtype=torch.float64))
    assert set(dropped.unique().tolist()) == {0.0, 1 / 0.75}
    assert abs((dropped == 0).double().mean().item() - 0.25) < 0.01
    assert abs(dropped.mean().item() - 1) < 0.01


def test_dropout_does_nothing_in_evaluation() -> None:
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 4)))
    assert torch.equal(dropout(0.5).eval()(inputs), inputs)


def test_dropout_draws_from_its_own_generator_alone() -> None:
    inputs = torch.ones(50)
    torch.manual_seed(1)
    first = dropout(0.5, seed=3)(inputs)
    torch.manual_seed(2)
    assert torch.equal(dropout(0.5, seed=3)(inputs), first)
    assert not torch.equal(dropout(0.5, seed=4)(inputs), first)
