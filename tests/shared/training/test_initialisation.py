from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, stats
from torch import nn

from shared.catalog.activations import ACTIVATIONS
from shared.catalog.architectures import ARCHITECTURES, Mlp
from shared.catalog.layers import Init
from shared.training.initialisation import variance_preserving_gain
from shared.training.network import Network, build_network
from tests.shared.specs import make

IMAGE = (1, 28, 28)
every_init = pytest.mark.parametrize("init", get_args(Init))
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def network(init: str, kind: str = "relu", *, architecture: str = "mlp", seed: int = 0, **parameters: Any) -> Network:
    layers = make(ARCHITECTURES, architecture, init=init, **parameters).layers(IMAGE, 10)
    return build_network(layers, make(ACTIVATIONS, kind), base_seed=0, seed=seed)


def weighted(built: Network) -> list[nn.Linear | nn.Conv2d]:
    return [module for module in built if isinstance(module, nn.Linear | nn.Conv2d)]


def numbers(tensor: torch.Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = tensor.detach().numpy().ravel()
    return values


@pytest.mark.parametrize(
    ("kind", "gain"),
    [("relu", 1.414), ("elu", 1.245), ("selu", 1.000), ("sigmoid", 1.846), ("tanh", 1.593), ("gelu", 1.534)],
)
def test_gains_are_the_known_ones(kind: str, gain: float) -> None:
    assert variance_preserving_gain(make(ACTIVATIONS, kind)) == pytest.approx(gain, abs=1e-3)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_gain_makes_the_mean_square_one(kind: str) -> None:
    """Against adaptive quadrature of scipy."""
    module = make(ACTIVATIONS, kind).build().double().eval()

    def weighted_square(z: float) -> float:
        with torch.no_grad():
            return float(module(torch.tensor([z], dtype=torch.float64)).item() ** 2 * stats.norm.pdf(z))

    corners = [-6, -3, -1, -0.5, 0, 0.5, 1, 3, 6]
    mean_square = integrate.quad(weighted_square, -10, 10, points=corners, limit=500)[0]
    assert variance_preserving_gain(make(ACTIVATIONS, kind)) ** 2 * mean_square == pytest.approx(1, abs=1e-3)


def test_a_function_that_is_zero_almost_everywhere_has_the_gain_one() -> None:
    assert variance_preserving_gain(make(ACTIVATIONS, "hardshrink", lambd=100.0)) == 1


@every_architecture
@every_init
def test_biases_are_zero_but_for_torchs_own_start(init: str, architecture: str) -> None:
    for module in weighted(network(init, architecture=architecture)):
        if module.bias is not None:
            assert (module.bias == 0).all() == (init != "torch_default")


@every_architecture
@pytest.mark.parametrize(
    ("init", "bound"),
    [
        ("glorot_standard", lambda num_in, num_out: 1 / np.sqrt(num_in)),
        ("glorot_normalized", lambda num_in, num_out: np.sqrt(6) / np.sqrt(num_in + num_out)),
    ],
)
def test_weights_of_glorot_are_uniform_within_their_bounds(init: str, bound: Any, architecture: str) -> None:
    for module in weighted(network(init, architecture=architecture)):
        pixels = module.weight[0, 0].numel() if module.weight.dim() == 4 else 1
        limit = bound(module.weight.shape[1] * pixels, module.weight.shape[0] * pixels)
        assert stats.kstest(numbers(module.weight), stats.uniform(-limit, 2 * limit).cdf).pvalue > 0.001


@every_architecture
@pytest.mark.parametrize(("init", "gains"), [("he", (2**0.5, 2**0.5)), ("variance_preserving", (1.0, 1.593))])
def test_normal_weights_have_their_standard_deviation(init: str, gains: tuple[float, float], architecture: str) -> None:
    for index, module in enumerate(weighted(network(init, "tanh", architecture=architecture))):
        sd = gains[min(index, 1)] / np.sqrt(module.weight[0].numel())
        assert stats.kstest(numbers(module.weight), stats.norm(0, sd).cdf).pvalue > 0.001


@every_architecture
def test_orthogonal_weights_have_orthonormal_rows_or_columns(architecture: str) -> None:
    for module in weighted(network("orthogonal", architecture=architecture)):
        flat = module.weight.detach().flatten(1)
        gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
        torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64))


@every_init
def test_activations_share_the_draws_up_to_their_gain(init: str) -> None:
    reference = weighted(network(init, "identity"))
    for kind in ACTIVATIONS:
        for first, other in zip(reference, weighted(network(init, kind)), strict=True):
            ratio = other.weight / first.weight
            assert ratio.std() < 1e-9
            if init != "variance_preserving":
                assert torch.equal(other.weight, first.weight)


@every_init
def test_seeds_have_weights_of_their_own(init: str) -> None:
    for first, other in zip(weighted(network(init)), weighted(network(init, seed=1)), strict=True):
        assert not torch.isclose(first.weight, other.weight).any(dim=0).all()


@pytest.mark.parametrize("kind", ["relu", "tanh", "sigmoid", "gelu", "selu", "lisht", "snake", "hardshrink"])
def test_variance_preserving_weights_keep_pre_activations_at_unit_variance(kind: str) -> None:
    layers = Mlp(hidden=(2000,) * 4, batch_norm=False, init="variance_preserving").layers((300,), 10)
    built = build_network(layers, make(ACTIVATIONS, kind), base_seed=0, seed=0)
    rows = torch.randn(200, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for module in built:
            rows = module(rows)
            if isinstance(module, nn.Linear) and module.out_features == 2000:
                assert rows.square().mean().item() == pytest.approx(1, abs=0.15)
