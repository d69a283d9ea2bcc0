from typing import Any

import pytest
import torch
from pydantic import ValidationError

from shared.catalog.optimizers import OPTIMIZERS
from shared.errors import InvalidSpecError
from tests.shared.specs import make, tiny

REFERENCES: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("adam", {}),
    ("adam", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("adamw", {}),
    ("adamw", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("sgd", {}),
    ("sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
]


def descend(optimizer: torch.optim.Optimizer, weights: torch.nn.Parameter) -> torch.Tensor:
    for _ in range(10):
        optimizer.zero_grad()
        weights.cosh().log().sum().backward()
        optimizer.step()
    return weights.detach()


def start() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))


@pytest.mark.parametrize(("kind", "parameters"), VARIANTS, ids=str)
def test_an_optimiser_steps_as_torchs_plain_one(kind: str, parameters: dict[str, Any]) -> None:
    ours, theirs = start(), start()
    entry = make(OPTIMIZERS, kind, **parameters)
    settings = {name: value for name, value in entry if name not in {"kind", "decay_activations", "weight_decay"}}
    group = {"params": [ours], "weight_decay": entry.weight_decay}
    reference = REFERENCES[kind]([theirs], weight_decay=entry.weight_decay, foreach=False, fused=False, **settings)
    torch.testing.assert_close(descend(entry.build([group]), ours), descend(reference, theirs), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimiser_descends(kind: str) -> None:
    weights = start()
    entry = make(OPTIMIZERS, kind)
    before = weights.cosh().log().sum().item()
    after = descend(entry.build([{"params": [weights], "weight_decay": 0.0}]), weights)
    assert after.cosh().log().sum().item() < before


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"lr": 101}, {"weight_decay": -1e-9}, {"lr": float("inf")}], ids=str)
def test_learning_rate_and_decay_have_bounds(kind: str, wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        make(OPTIMIZERS, kind, **wrong)


def test_nesterov_without_momentum_is_refused_with_what_it_needs() -> None:
    with pytest.raises(InvalidSpecError, match="momentum"):
        tiny(training={"optimizer": {"kind": "sgd", "nesterov": True}})
