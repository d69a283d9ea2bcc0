from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from shared.catalog.activations import ACTIVATIONS
from shared.catalog.architectures import ARCHITECTURES, Mlp
from shared.catalog.modules import Dropout
from shared.seeds import torch_stream
from shared.training.network import Network, build_network, parameter_groups
from shared.training.noise import attach_noise
from tests.shared.specs import make, tiny

IMAGE = (1, 28, 28)


def mlp(kind: str = "relu", *, base_seed: int = 0, seed: int = 0, **parameters: Any) -> Network:
    layers = Mlp(**{"hidden": (128, 64), **parameters}).layers((10,), 1)
    return build_network(layers, make(ACTIVATIONS, kind), base_seed=base_seed, seed=seed)


def weights(network: Network) -> list[torch.Tensor]:
    return [module.weight.detach() for module in network if isinstance(module, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_weights_are_the_same_for_every_activation(architecture: str) -> None:
    layers = make(ARCHITECTURES, architecture).layers(IMAGE, 10)
    networks = [build_network(layers, make(ACTIVATIONS, kind), base_seed=3, seed=1) for kind in ACTIVATIONS]
    for network in networks[1:]:
        for first, other in zip(weights(networks[0]), weights(network), strict=True):
            assert torch.equal(first, other)


def test_initial_weights_differ_by_seed_and_by_base_seed() -> None:
    first, by_seed, by_base_seed = (weights(network)[0] for network in (mlp(), mlp(seed=1), mlp(base_seed=1)))
    assert not torch.equal(first, by_seed)
    assert not torch.equal(first, by_base_seed)
    assert not torch.equal(by_seed, by_base_seed)


def test_another_depth_or_width_leaves_the_layers_before_it_as_they_were() -> None:
    shallow, deep, wide = mlp(hidden=(32, 16)), mlp(hidden=(32, 16, 8)), mlp(hidden=(32, 99))
    assert torch.equal(weights(shallow)[0], weights(deep)[0])
    assert torch.equal(weights(shallow)[1], weights(deep)[1])
    assert torch.equal(weights(shallow)[0], weights(wide)[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_and_biases_start_uniform_within_one_over_the_root_of_the_inputs(architecture: str) -> None:
    network = build_network(
        make(ARCHITECTURES, architecture).layers(IMAGE, 10), make(ACTIVATIONS, "relu"), base_seed=0, seed=0
    )
    for module in network:
        if isinstance(module, nn.Linear | nn.Conv2d):
            bound = 1 / np.sqrt(module.weight[0].numel())
            for parameter in (module.weight, module.bias):
                if parameter is not None:
                    values = parameter.detach().numpy().ravel()
                    assert stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.001


def test_the_draws_of_a_layer_are_its_own_stream() -> None:
    draws = torch.rand((64, 128), generator=torch_stream(5, 2, "weights", 1), dtype=torch.float64)
    expected = (2 * draws - 1) / np.sqrt(128)
    torch.testing.assert_close(weights(mlp(base_seed=5, seed=2))[1], expected, rtol=1e-14, atol=0)


def test_what_was_drawn_before_from_the_global_generator_changes_no_network() -> None:
    networks = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        networks.append(mlp("prelu", dropout=0.5, batch_norm=False))
    for first, second in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_the_activation_stands_in_every_place_as_a_module_of_its_own(kind: str) -> None:
    network = mlp(kind)
    assert len(network.activation_modules) == 2
    assert network.activation_modules[0] is not network.activation_modules[1]
    assert type(network.activation_modules[0]) is type(make(ACTIVATIONS, kind).build())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("decay_activations", [False, True])
def test_what_an_activation_learns_is_decayed_only_when_asked_for(optimizer: str, decay_activations: bool) -> None:
    spec = tiny(
        training={"optimizer": {"kind": optimizer, "weight_decay": 0.1, "decay_activations": decay_activations}}
    )
    network = mlp("prelu")
    groups = parameter_groups(network, spec.training.optimizer)
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert len(decay) == len(list(network.parameters()))
    slopes = {id(parameter) for module in network.activation_modules for parameter in module.parameters()}
    assert len(slopes) == 2
    for parameter in network.parameters():
        spared = id(parameter) in slopes and not decay_activations
        assert decay[id(parameter)] == (0.0 if spared else 0.1)


def start_step(network: Network, step: int) -> None:
    for noise in attach_noise(network, [0], stacked=False, device=torch.device("cpu")):
        noise.start_step(0, step)


def test_noise_of_the_activation_does_not_shift_the_dropout_masks() -> None:
    masks = []
    for kind in ("relu", "rrelu"):
        network = mlp(kind, dropout=0.5, hidden=(8, 6)).train()
        start_step(network, 3)
        network(torch.randn(16, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
        dropout = next(module for module in network if isinstance(module, Dropout))
        masks.append(dropout(torch.ones(4, 4, dtype=torch.float64)))
    assert torch.equal(masks[0], masks[1])


def test_noise_depends_on_the_step_alone() -> None:
    network = mlp(dropout=0.5).train()
    inputs = torch.randn(16, 10, dtype=torch.float64)

    def outputs(step: int) -> torch.Tensor:
        start_step(network, step)
        result: torch.Tensor = network(inputs)
        return result

    first, other = outputs(1), outputs(2)
    assert torch.equal(outputs(1), first)
    assert not torch.equal(first, other)
