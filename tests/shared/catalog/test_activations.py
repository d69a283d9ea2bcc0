import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.special import erf, expit

from shared.catalog.activations import ACTIVATIONS, Activation, same_functions
from shared.catalog.modules import NoisyModule
from shared.catalog.modules import RReLU as RReLUModule
from tests.shared.noise import Draws
from tests.shared.specs import make, tiny

Array = NDArray[np.float64]

# Written anew from the papers, to be compared with what the catalog builds; in evaluation mode.
FORMULAS: dict[str, Callable[..., Array]] = {
    "identity": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x, negative_slope=0.01: np.where(x >= 0, x, negative_slope * x),
    "prelu": lambda x, init=0.25: np.where(x >= 0, x, init * x),
    "rrelu": lambda x, lower=1 / 8, upper=1 / 3: np.where(x >= 0, x, (lower + upper) / 2 * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "celu": lambda x, alpha=1.0: np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "gelu": lambda x, approximate="none": (
        x * (1 + erf(x / np.sqrt(2))) / 2
        if approximate == "none"
        else 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    ),
    "silu": lambda x: x * expit(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "softplus": lambda x, beta=1.0: np.logaddexp(0, beta * x) / beta,
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "sigmoid": expit,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "tanh": np.tanh,
    "hardtanh": lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softshrink": lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
    "hardshrink": lambda x, lambd=0.5: np.where(np.abs(x) > lambd, x, 0),
    "tanhshrink": lambda x: x - np.tanh(x),
    "swish": lambda x, beta=1.0, learn_beta=False: x * expit(beta * x),
    "tanh_exp": lambda x: x * np.tanh(np.exp(x)),
    "serf": lambda x: x * erf(np.logaddexp(0, x)),
    "lisht": lambda x: x * np.tanh(x),
    "isru": lambda x, alpha=1.0: x / np.sqrt(1 + alpha * x**2),
    "isrlu": lambda x, alpha=1.0: np.where(x >= 0, x, x / np.sqrt(1 + alpha * x**2)),
    "squared_relu": lambda x: np.maximum(x, 0) ** 2,
    "lecun_tanh": lambda x: 1.7159 * np.tanh(2 * x / 3),
    "arctan": np.arctan,
    "asinh": lambda x: np.sign(x) * np.log(np.abs(x) + np.sqrt(x**2 + 1)),
    "sine": lambda x, omega=1.0: np.sin(omega * x),
    "snake": lambda x, alpha=1.0: x + np.sin(alpha * x) ** 2 / alpha,
}

OTHER_PARAMETERS: dict[str, dict[str, Any]] = {
    "leaky_relu": {"negative_slope": 0.2},
    "prelu": {"init": -0.5},
    "rrelu": {"lower": 0.0, "upper": 1.0},
    "elu": {"alpha": 0.3},
    "celu": {"alpha": 2.5},
    "gelu": {"approximate": "tanh"},
    "softplus": {"beta": 2.0},
    "hardtanh": {"min_val": -0.25, "max_val": 3.0},
    "softshrink": {"lambd": 0.0},
    "hardshrink": {"lambd": 1.5},
    "swish": {"beta": 2.0, "learn_beta": True},
    "isru": {"alpha": 3.0},
    "isrlu": {"alpha": 3.0},
    "sine": {"omega": 30.0},
    "snake": {"alpha": 0.2},
}

POINTS = np.concatenate([np.linspace(-8, 8, 161), [-30.0, -0.5, -1e-9, 0.0, 1e-9, 0.5, 6.0, 30.0]])

every_activation = pytest.mark.parametrize("kind", ACTIVATIONS)
parametrised = pytest.mark.parametrize("kind", OTHER_PARAMETERS)


def apply(activation: Activation, x: Array) -> Array:
    values: Array = activation.build().double().eval()(torch.from_numpy(x)).detach().numpy()
    return values


def parameters(kind: str) -> set[str]:
    return set(ACTIVATIONS[kind].model_fields) - {"kind", "label"}


def test_all_element_wise_functions_of_torch_are_in_the_catalog() -> None:
    assert {
        "relu", "leaky_relu", "prelu", "rrelu", "relu6", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish",
        "softplus", "log_sigmoid", "sigmoid", "hardsigmoid", "tanh", "hardtanh", "softsign", "softshrink",
        "hardshrink", "tanhshrink", "identity",
    } <= set(ACTIVATIONS)  # fmt: skip


def test_the_published_ones_that_torch_lacks_are_in_the_catalog() -> None:
    assert {
        "swish", "tanh_exp", "serf", "lisht", "isru", "isrlu", "lecun_tanh", "arctan", "asinh", "snake", "sine",
        "squared_relu",
    } <= set(ACTIVATIONS)  # fmt: skip


@every_activation
def test_an_activation_is_its_formula(kind: str) -> None:
    np.testing.assert_allclose(apply(make(ACTIVATIONS, kind), POINTS), FORMULAS[kind](POINTS), rtol=1e-7, atol=1e-8)


@parametrised
def test_an_activation_with_other_parameters_is_its_formula(kind: str) -> None:
    chosen = OTHER_PARAMETERS[kind]
    values = apply(make(ACTIVATIONS, kind, **chosen), POINTS)
    np.testing.assert_allclose(values, FORMULAS[kind](POINTS, **chosen), rtol=1e-7, atol=1e-8)
    assert not np.allclose(values, FORMULAS[kind](POINTS)), "the parameters change the function"


@every_activation
def test_every_parameter_is_tried_with_another_value(kind: str) -> None:
    assert parameters(kind) == set(OTHER_PARAMETERS.get(kind, {}))


@every_activation
def test_an_activation_of_a_batch_is_that_of_each_element(kind: str) -> None:
    module = make(ACTIVATIONS, kind).build().double().eval()
    batch = torch.from_numpy(POINTS[:160]).reshape(4, 5, 8)
    with torch.no_grad():
        together = module(batch)
        alone = torch.stack([module(value.reshape(1, 1)).reshape(()) for value in batch.flatten()])
    assert together.shape == batch.shape
    torch.testing.assert_close(together, alone.reshape(batch.shape), rtol=0, atol=1e-15)


@every_activation
def test_an_activation_passes_gradients_and_leaves_its_input_alone(kind: str) -> None:
    module = make(ACTIVATIONS, kind).build().double()
    if isinstance(module, NoisyModule):
        module.noise = Draws()
    inputs = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    before = inputs.detach().clone()
    module(inputs).sum().backward()
    assert torch.equal(inputs.detach(), before)
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()
    assert (inputs.grad != 0).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("magnitude", [30.0, 90.0, 1e3, 1e6, 1e12, 1e18])
@every_activation
def test_values_and_gradients_stay_finite_far_from_zero(kind: str, magnitude: float, dtype: torch.dtype) -> None:
    """Where exp overflows, 0 times infinity is near: NaN in one gradient ends a run."""
    module = make(ACTIVATIONS, kind).build().to(dtype).eval()
    inputs = torch.tensor([-magnitude, magnitude], dtype=dtype, requires_grad=True)
    values = module(inputs)
    values.sum().backward()
    assert values.isfinite().all()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()


@every_activation
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    module = make(ACTIVATIONS, kind, **OTHER_PARAMETERS.get(kind, {})).build().double().eval()
    # Off the corners of every entry.
    inputs = torch.linspace(-7.93, 8.11, 41, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (inputs,))


@every_activation
def test_only_activations_that_say_so_learn(kind: str) -> None:
    num_parameters = sum(parameter.numel() for parameter in make(ACTIVATIONS, kind).build().parameters())
    assert (num_parameters > 0) == ACTIVATIONS[kind].learnable


@every_activation
def test_an_activation_may_be_named_by_its_kind_alone(kind: str) -> None:
    (activation,) = tiny(activations=[kind]).activations
    assert activation == make(ACTIVATIONS, kind)
    assert activation.name == kind


@parametrised
def test_a_label_tells_the_parameters_that_are_not_the_default(kind: str) -> None:
    chosen = OTHER_PARAMETERS[kind]
    assert make(ACTIVATIONS, kind, **chosen).name == f"{kind}({', '.join(f'{name}={chosen[name]}' for name in chosen)})"


@every_activation
def test_parameters_at_their_defaults_do_not_show_in_the_label(kind: str) -> None:
    defaults = {name: field.default for name, field in ACTIVATIONS[kind].model_fields.items() if name != "label"}
    assert make(ACTIVATIONS, **defaults).name == kind


def test_a_label_of_the_clients_own_stays() -> None:
    assert tiny(activations=[{"kind": "leaky_relu", "negative_slope": 0.2, "label": "leaky 0.2"}]).activations[
        0
    ].name == ("leaky 0.2")


def test_labels_keep_variants_of_one_activation_apart() -> None:
    spec = tiny(activations=["leaky_relu", {"kind": "leaky_relu", "negative_slope": 0.2}, "relu"])
    assert [entry.name for entry in spec.activations] == ["leaky_relu", "leaky_relu(negative_slope=0.2)", "relu"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "rrelu", "lower": 0.5, "upper": 0.25},
        {"kind": "hardtanh", "min_val": 1.0, "max_val": 1.0},
        {"kind": "elu", "alpha": 0.0},
        {"kind": "softshrink", "lambd": -0.1},
        {"kind": "leaky_relu", "negative_slope": 11},
        {"kind": "leaky_relu", "negative_slope": "0.1"},
        {"kind": "leaky_relu", "negative_slope": True},
        {"kind": "leaky_relu", "negative_slope": float("nan")},
        {"kind": "gelu", "approximate": "erf"},
        {"kind": "relu", "negative_slope": 0.1},
        {"kind": "swish", "beta": 0.0},
        {"kind": "swish", "learn_beta": 1},
        {"kind": "sine", "omega": -1.0},
        {"kind": "isru", "alpha": 101.0},
        {"kind": "relu", "label": ""},
        {"kind": "relu", "label": "x" * 81},
    ],
    ids=str,
)
def test_parameters_have_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(ACTIVATIONS, wrong["kind"], **{name: value for name, value in wrong.items() if name != "kind"})


def test_randomised_slopes_are_uniform_between_their_bounds_while_training() -> None:
    module = make(ACTIVATIONS, "rrelu", lower=0.1, upper=0.3).build().double().train()
    assert isinstance(module, NoisyModule)
    module.noise = Draws()
    slopes = -module(torch.full((20_000,), -1.0, dtype=torch.float64)).numpy()
    assert slopes.min() >= 0.1
    assert slopes.max() < 0.3
    assert abs(slopes.mean() - 0.2) < 0.002
    assert abs(slopes.std() - 0.2 / np.sqrt(12)) < 0.002
    positive = torch.linspace(0, 5, 7, dtype=torch.float64)
    assert torch.equal(module(positive), positive)


# --- the same function under two names


def variants() -> list[Activation]:
    """Every entry at its defaults, with other parameters, and where it turns into another."""
    chosen: list[tuple[str, dict[str, Any]]] = [
        *((kind, {}) for kind in ACTIVATIONS),
        *OTHER_PARAMETERS.items(),
        ("leaky_relu", {"negative_slope": 0.0}),
        ("leaky_relu", {"negative_slope": 1.0}),
        ("leaky_relu", {"negative_slope": 0.25}),
        ("rrelu", {"lower": 0.25, "upper": 0.25}),
        ("rrelu", {"lower": 0.0, "upper": 0.0}),
        ("hardtanh", {"min_val": 0.0, "max_val": 6.0}),
        ("hardshrink", {"lambd": 0.0}),
        ("celu", {"alpha": 0.3}),
        ("elu", {"alpha": 2.5}),
        ("swish", {"beta": 2.0}),
        ("swish", {"learn_beta": True}),
    ]
    return [make(ACTIVATIONS, kind, **parameters, label=f"{kind} {parameters}") for kind, parameters in chosen]


def behaviour(activation: Activation) -> tuple[object, ...]:
    """What tells functions apart: values, what is drawn while training, and what is learned."""
    module = activation.build()
    noise = (module.lower, module.upper) if isinstance(module, RReLUModule) and module.lower < module.upper else None
    learned = tuple(parameter.item() for parameter in module.parameters())
    return (*apply(activation, POINTS).round(9).tolist(), noise, activation.kind if learned else None, learned)


def test_entries_share_a_key_exactly_where_they_are_the_same_function() -> None:
    """Over all pairs of entries, so that a new one that repeats another is found here."""
    for a, b in itertools.combinations(variants(), 2):
        assert (a.canonical() == b.canonical()) == (behaviour(a) == behaviour(b)), (a.name, b.name)


def test_pairs_of_the_same_function_are_found_by_their_labels() -> None:
    chosen = ["elu", "celu", "relu", {"kind": "leaky_relu", "negative_slope": 0}, "silu", "swish", "softsign"]
    assert same_functions(tiny(activations=chosen).activations) == [
        ("elu", "celu"), ("relu", "leaky_relu(negative_slope=0.0)"), ("silu", "swish"),
    ]  # fmt: skip
    assert same_functions(tiny(activations=["relu", {"kind": "relu", "label": "again"}]).activations)
    assert same_functions(tiny(activations=list(ACTIVATIONS)).activations) == [("silu", "swish"), ("elu", "celu")]


def test_a_whole_number_names_the_same_function_as_the_real_one() -> None:
    assert make(ACTIVATIONS, "leaky_relu", negative_slope=1).name == "leaky_relu(negative_slope=1.0)"
