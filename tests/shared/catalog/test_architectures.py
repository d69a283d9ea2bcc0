import itertools
from typing import Any, get_args

import pytest
import torch

from shared.catalog.activations import ReLU
from shared.catalog.architectures import ARCHITECTURES, HarrisonCnn, Mlp
from shared.catalog.layers import (
    Activate,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    Init,
    Layer,
    Linear,
    MaxPool2d,
    Shape,
    cost,
    output_shape,
    rows_evaluated_at_once,
)
from shared.training.network import build_network
from tests.shared.specs import make

# Every architecture takes small square images; variants are further parameters that must hold as well.
IMAGE = (1, 28, 28)
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "mlp": [{}, {"batch_norm": False}, {"hidden": [5], "dropout": 0.3}, {"hidden": [7, 6, 5]}],
    "harrison_cnn": [{}, {"dropout": 0.25}, {"init": "he"}],
}
CASES = [(kind, variant) for kind in ARCHITECTURES for variant in VARIANTS.get(kind, [{}])]

every_architecture = pytest.mark.parametrize(("kind", "variant"), CASES, ids=str)


@every_architecture
def test_the_described_layers_are_those_that_are_built(kind: str, variant: dict[str, Any]) -> None:
    layers = make(ARCHITECTURES, kind, **variant).layers(IMAGE, 10)
    network = build_network(layers, ReLU(), base_seed=0, seed=0).eval()
    shape: Shape = IMAGE
    batch = torch.zeros(2, *IMAGE, dtype=torch.float64)
    for layer, module in zip(layers, network, strict=True):
        shape, batch = layer.output_shape(shape), module(batch)
        assert tuple(batch.shape[1:]) == shape
        assert sum(parameter.numel() for parameter in module.parameters()) == layer.num_parameters()
    assert shape == output_shape(layers, IMAGE) == (10,)


@every_architecture
def test_the_cost_counts_every_parameter_once(kind: str, variant: dict[str, Any]) -> None:
    layers = make(ARCHITECTURES, kind, **variant).layers(IMAGE, 10)
    network = build_network(layers, ReLU(), base_seed=0, seed=0)
    assert cost(layers, IMAGE).num_parameters == sum(parameter.numel() for parameter in network.parameters())


@every_architecture
def test_no_bias_comes_right_before_batch_norm_and_the_output_has_one(kind: str, variant: dict[str, Any]) -> None:
    layers = make(ARCHITECTURES, kind, **variant).layers(IMAGE, 10)
    for layer, following in itertools.pairwise(layers):
        if isinstance(layer, Linear | Conv2d):
            assert layer.bias != isinstance(following, BatchNorm)
    assert isinstance(layers[-1], Linear)
    assert layers[-1].bias


@every_architecture
def test_an_architecture_knows_whether_it_normalises_batches(kind: str, variant: dict[str, Any]) -> None:
    architecture = make(ARCHITECTURES, kind, **variant)
    has_batch_norm = any(isinstance(layer, BatchNorm) for layer in architecture.layers(IMAGE, 10))
    assert architecture.normalises_batches == has_batch_norm


@every_architecture
def test_dropout_stands_in_the_network_only_where_it_was_asked_for(kind: str, variant: dict[str, Any]) -> None:
    drops = [layer.p for layer in make(ARCHITECTURES, kind, **variant).layers(IMAGE, 10) if isinstance(layer, Dropout)]
    assert set(drops) == ({variant["dropout"]} if "dropout" in variant else set())


def test_the_multilayer_perceptron_of_the_study_is_10_128_64_1() -> None:
    linear = [layer for layer in Mlp().layers((10,), 1) if isinstance(layer, Linear)]
    assert [(layer.num_in, layer.num_out) for layer in linear] == [(10, 128), (128, 64), (64, 1)]


def test_the_convolutional_network_of_the_study_has_1176_features_on_64_x_64() -> None:
    layers = HarrisonCnn().layers((1, 64, 64), 10)
    flat = next(index for index, layer in enumerate(layers) if isinstance(layer, Flatten))
    assert output_shape(layers[: flat + 1], (1, 64, 64)) == (1176,)
    linear = [layer for layer in layers if isinstance(layer, Linear)]
    assert [(layer.num_in, layer.num_out) for layer in linear] == [(1176, 512), (512, 128), (128, 10)]


def test_without_its_output_layer_the_convolutional_network_answers_with_128_activated_features() -> None:
    layers = HarrisonCnn(output_layer=False).layers((1, 64, 64), 10)
    assert layers == HarrisonCnn().layers((1, 64, 64), 10)[:-1]
    assert output_shape(layers, (1, 64, 64)) == (128,)
    assert isinstance(layers[-1], Activate)


@every_architecture
@pytest.mark.parametrize("init", get_args(Init))
def test_every_layer_with_weights_knows_the_initialisation(kind: str, variant: dict[str, Any], init: str) -> None:
    layers = make(ARCHITECTURES, kind, **{**variant, "init": init}).layers(IMAGE, 10)
    assert {layer.init for layer in layers if isinstance(layer, Linear | Conv2d)} == {init}


def test_the_convolutional_network_drops_out_before_its_two_wide_layers() -> None:
    layers = HarrisonCnn(dropout=0.25).layers((1, 64, 64), 10)
    followers = [following for layer, following in itertools.pairwise(layers) if isinstance(layer, Dropout)]
    assert [layer.num_out for layer in followers if isinstance(layer, Linear)] == [512, 128]


def test_the_smallest_image_that_the_convolutional_network_takes_is_11_x_11() -> None:
    layers = HarrisonCnn().layers((1, 11, 11), 10)
    network = build_network(layers, ReLU(), base_seed=0, seed=0)
    assert network(torch.zeros(2, 1, 11, 11, dtype=torch.float64)).shape == (2, 10)
    with pytest.raises(ValueError, match="too small"):
        HarrisonCnn().layers((1, 10, 10), 10)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Linear(3, 2, bias=True), (4,)),
        (Linear(3, 2, bias=True), (1, 3, 1)),
        (Conv2d(2, 3, kernel=3, stride=1, padding=0, bias=False), (1, 8, 8)),
        (Conv2d(1, 3, kernel=5, stride=1, padding=0, bias=False), (1, 4, 8)),
        (Conv2d(1, 3, kernel=1, stride=1, padding=0, bias=False), (5,)),
        (MaxPool2d(2), (3, 1, 8)),
    ],
    ids=str,
)
def test_layers_that_do_not_fit_their_input_say_so(layer: Layer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"cannot follow|too small"):
        layer.output_shape(shape)


def test_flops_of_matrix_products_and_convolutions_are_two_per_multiplication() -> None:
    assert Linear(10, 128, bias=True).flops((10,)) == 2 * 10 * 128
    convolution = Conv2d(3, 4, kernel=5, stride=2, padding=1, bias=False)
    assert convolution.output_shape((3, 9, 9)) == (4, 4, 4)
    assert convolution.flops((3, 9, 9)) == 2 * (4 * 4 * 4) * (3 * 5 * 5)


def test_the_wider_a_network_the_fewer_rows_are_evaluated_at_once() -> None:
    narrow, wide, huge = (
        rows_evaluated_at_once(cost(Mlp(hidden=hidden).layers((10,), 1), (10,)))
        for hidden in ((8,), (8192,), (8192,) * 20)
    )
    assert narrow > wide > huge >= 16
    assert narrow * (10 + 3 * 8 + 1) <= 2**23
