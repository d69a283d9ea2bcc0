"""The same training written plainly in torch from the same random streams: the engine must reach its losses."""

from collections.abc import Callable, Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, huber_loss, interpolate, l1_loss, mse_loss

from shared.catalog.corruptions import corrupt
from shared.seeds import numpy_stream, torch_stream
from shared.spec import ExperimentSpec
from shared.training.population import Member
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny
from tests.shared.training.populations import by_member

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": mse_loss, "mae": l1_loss, "huber": huber_loss, "cross_entropy": cross_entropy,
}  # fmt: skip
DOUBLE = {"precision": "float64"}

CNN: Mapping[str, Any] = {
    **TINY_CLASSIFICATION,
    "dataset": {"kind": "digits", "train_size": 40, "val_size": 20, "image_size": 28},
    "architecture": {"kind": "harrison_cnn"},
}


def multilayer_perceptron(activation: type[nn.Module], num_in: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(num_in, 8, bias=False), nn.BatchNorm1d(8), activation(),
        nn.Linear(8, 6, bias=False), nn.BatchNorm1d(6), activation(),
        nn.Linear(6, num_out),
    )  # fmt: skip


def convolutional_network(activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 10, 5, stride=2, bias=False), nn.BatchNorm2d(10), activation(), nn.MaxPool2d(2),
        nn.Conv2d(10, 16, 5, padding=2, bias=False), nn.BatchNorm2d(16), activation(), nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), activation(),
        nn.Flatten(),
        nn.LazyLinear(512, bias=False), nn.BatchNorm1d(512), activation(),
        nn.Linear(512, 128, bias=False), nn.BatchNorm1d(128), activation(),
        nn.Linear(128, 10),
    )  # fmt: skip


def draw_weights(network: nn.Sequential, seed: int) -> None:
    weighted = [module for module in network if isinstance(module, nn.Linear | nn.Conv2d)]
    for index, module in enumerate(weighted):
        stream = torch_stream(0, seed, "weights", index)
        bound = 1 / sqrt(module.weight[0].numel())
        with torch.no_grad():
            for parameter in (module.weight, module.bias):
                if parameter is not None:
                    parameter.copy_(
                        (2 * torch.rand(parameter.shape, generator=stream, dtype=torch.float64) - 1) * bound
                    )


def train_plainly(
    spec: ExperimentSpec, member: Member, network: nn.Sequential, optimizer: Callable[..., torch.optim.Optimizer]
) -> list[tuple[float, float]]:
    """(train_loss, val_loss) of each epoch."""
    dataset = spec.dataset.load(base_seed=0, seed=member.seed, datasets_dir=Path("nowhere"))
    rows = corrupt(dataset, spec.corruption, member.rate, base_seed=0, seed=member.seed)
    inputs, val_inputs = torch.from_numpy(rows.inputs).double(), torch.from_numpy(dataset.val_inputs).double()
    if dataset.transform is not None:
        size = dataset.transform.size
        inputs, val_inputs = (
            interpolate(part.unsqueeze(1) * dataset.transform.scale, size=(size, size), mode="bilinear")
            for part in (inputs, val_inputs)
        )
    targets, val_targets = torch.from_numpy(rows.targets), torch.from_numpy(dataset.val_targets)
    network.double()
    network(inputs)  # lets lazy layers find their sizes
    for module in network:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
    draw_weights(network, member.seed)
    descent, loss_of = optimizer(network.parameters()), LOSSES[spec.training.loss]
    losses = []
    for epoch in range(1, spec.training.epochs + 1):
        order = torch.from_numpy(numpy_stream(0, member.seed, "batch_order", epoch).permutation(len(targets)))
        total = 0.0
        network.train()
        for batch in order.split(spec.training.batch_size):
            outputs = network(inputs[batch])
            loss = loss_of(outputs.squeeze(-1), targets[batch])
            descent.zero_grad()
            loss.backward()
            descent.step()
            total += loss.item() * len(batch)
        network.eval()
        with torch.no_grad():
            losses.append((total / len(targets), loss_of(network(val_inputs).squeeze(-1), val_targets).item()))
    return losses


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.001, weight_decay=1e-10, fused=False, foreach=False)


def momentum(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01, foreach=False)


def assert_same(spec: ExperimentSpec, network: Callable[[], nn.Sequential], optimizer: Any) -> None:
    for member, trained in by_member(spec).items():
        plain = train_plainly(spec, member, network(), optimizer)
        engine = [(record["train_loss"], record["val_loss"]) for record in trained]
        assert [number for pair in engine for number in pair] == pytest.approx(
            [number for pair in plain for number in pair], rel=1e-8
        )


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
@pytest.mark.parametrize(("kind", "module"), [("relu", nn.ReLU), ("tanh", nn.Tanh), ("softsign", nn.Softsign)])
def test_a_regression_reaches_the_losses_of_a_plain_loop(kind: str, module: type[nn.Module], loss: str) -> None:
    spec = tiny(TINY_REGRESSION, activations=[kind], training={**DOUBLE, "loss": loss})
    assert_same(spec, lambda: multilayer_perceptron(module, 6, 1), adam)


def test_a_classification_reaches_the_losses_of_a_plain_loop() -> None:
    training = {**DOUBLE, "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}}
    spec = tiny(TINY_CLASSIFICATION, activations=["elu"], training=training)
    assert_same(spec, lambda: multilayer_perceptron(nn.ELU, 64, 10), momentum)


def test_a_convolutional_network_reaches_the_losses_of_a_plain_loop() -> None:
    training = {**DOUBLE, "epochs": 2, "optimizer": {"kind": "adam", "lr": 0.001, "weight_decay": 1e-10}}
    spec = tiny(CNN, activations=["relu"], training=training, num_seeds=1)
    assert_same(spec, lambda: convolutional_network(nn.ReLU), adam)
