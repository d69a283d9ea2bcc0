"""C++ for element-wise functions of the catalog, read off their torch modules: nobody writes a formula twice.

A module is traced for a single number, so that every operation left in the graph is a scalar one; its derivatives come
from torch's own backward formulas. The result is a loop that a compiler turns into vector instructions.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared.catalog.losses import Loss
from shared.catalog.modules import NoisyModule
from shared.training.toolchain import CompilationError

PREAMBLE = '#include "functions.hpp"\n\n'

# What each scalar operation of torch is in C++; {0}, {1}, … are its arguments.
SPELLINGS = {
    "abs": "std::abs({0})", "add": "({0} + {1})", "asinh": "asinh_({0})", "atan": "atan_({0})",
    "bitwise_and": "({0} & {1})", "bitwise_not": "(!{0})", "bitwise_or": "({0} | {1})",
    "clamp_max": "least({0}, {1})", "clamp_min": "greatest({0}, {1})", "convert_element_type": "real({0})",
    "copy": "{1}", "cos": "cos_({0})", "cosh": "cosh_({0})", "div": "({0} / {1})", "eq": "({0} == {1})",
    "erf": "erf_({0})", "exp": "exp_({0})", "expm1": "expm1_({0})", "ge": "({0} >= {1})", "gt": "({0} > {1})",
    "hardshrink_backward": "(std::abs({1}) > {2} ? {0} : real(0))", "le": "({0} <= {1})", "log": "log_({0})",
    "log1p": "log1p_({0})", "logical_and": "({0} & {1})", "logical_not": "(!{0})", "logical_or": "({0} | {1})",
    "lt": "({0} < {1})", "maximum": "greatest({0}, {1})", "minimum": "least({0}, {1})", "mul": "({0} * {1})",
    "ne": "({0} != {1})", "neg": "(-{0})", "reciprocal": "(1 / {0})", "rsqrt": "(1 / std::sqrt({0}))",
    "rsub": "({1} - {0})", "sigmoid": "(1 / (1 + exp_(-{0})))", "sign": "sign_({0})", "sin": "sin_({0})",
    "sinh": "sinh_({0})", "softshrink_backward": "(std::abs({1}) > {2} ? {0} : real(0))", "sqrt": "std::sqrt({0})",
    "sub": "({0} - {1})", "tanh": "tanh_({0})", "where": "({0} ? {1} : {2})",
}  # fmt: skip
# On a single number these change nothing but its shape or where it lies.
TRANSPARENT = frozenset({
    "alias", "clone", "detach", "expand", "lift_fresh_copy", "permute", "reshape", "squeeze", "sum", "unsqueeze",
    "view", "_to_copy", "_unsafe_view",
})  # fmt: skip
CONSTANTS = frozenset({"empty_permuted", "full", "full_like", "ones_like", "scalar_tensor", "zeros_like"})
LONGEST_POWER = 8


class UntranslatableError(CompilationError):
    """A function uses an operation that has no spelling here: it trains without compilation."""


def activation_code(module: nn.Module) -> str:
    """C++ of an activation: its values, its slopes, and the gradients of what it learns.

    Raises: UntranslatableError.
    """
    if any(isinstance(part, NoisyModule) for part in module.modules()):
        raise UntranslatableError("random draws")
    parameters = [parameter.detach().double() for parameter in module.parameters()]
    names = [name for name, _ in module.named_parameters()]
    if any(parameter.numel() != 1 for parameter in parameters):
        raise UntranslatableError("a learned parameter that is not a single number")

    def values(x: Tensor, *learned: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(module, dict(zip(names, learned, strict=True)), (x,))
        return result

    inputs = {"x": "xs[i]", **{f"p{k}": f"parameters[{k}]" for k in range(len(names))}}
    lines, (value, slope, *gains) = _translate(_with_slopes(values), parameters, list(inputs))
    body = [*(f"const real {name} = {source};" for name, source in inputs.items()), *lines]
    arguments = "const real* xs, const real* parameters"
    return PREAMBLE + "\n".join([
        _function("values", f"{arguments}, real* ys", _loop([*body, f"ys[i] = {value};"])),
        _function(
            "values_and_slopes", f"{arguments}, real* ys, real* slopes",
            _loop([*body, f"ys[i] = {value};", f"slopes[i] = {slope};"]),
        ),
        _function("parameter_gradients", f"{arguments}, const real* gradients, real* sums", _sums(body, gains)),
    ])  # fmt: skip


def _sums(body: Sequence[str], gains: Sequence[str]) -> str:
    if not gains:
        return ""
    names = [f"sum{k}" for k in range(len(gains))]
    added = [f"{name} += gradients[i] * {gain};" for name, gain in zip(names, gains, strict=True)]
    return "\n".join([
        f"    real {', '.join(f'{name} = 0' for name in names)};",
        _loop([*body, *added], reduction=f" reduction(+ : {', '.join(names)})"),
        *(f"    sums[{k}] += {name};" for k, name in enumerate(names)),
    ])  # fmt: skip


def loss_code(loss: Loss) -> str:
    """C++ of a regression loss: per example its value and its slope by the prediction.

    Raises: UntranslatableError.
    """

    def values(prediction: Tensor, target: Tensor) -> Tensor:
        return loss.per_example(prediction.unsqueeze(-1), target)

    others = [torch.ones(1, dtype=torch.float64)]
    lines, (value, slope, *_) = _translate(_with_slopes(values), others, ["x", "t"])
    body = ["const real x = predictions[i];", "const real t = targets[i];", *lines]
    arguments = "const real* predictions, const real* targets, real* losses, real* slopes"
    return PREAMBLE + _function("loss", arguments, _loop([*body, f"losses[i] = {value};", f"slopes[i] = {slope};"]))


def _with_slopes(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    def both(*inputs: Tensor) -> tuple[Tensor, ...]:
        pair: Any = torch.func.vjp(function, *inputs)
        value, backward = pair
        return (value, *backward(torch.ones_like(value)))

    return both


def _function(name: str, arguments: str, body: str) -> str:
    return f'extern "C" void {name}({arguments}, long length) {{\n{body}\n}}\n'


def _loop(body: Sequence[str], *, reduction: str = "") -> str:
    lines = "".join(f"        {line}\n" for line in body)
    return f"#pragma omp simd{reduction}\n    for (long i = 0; i < length; i++) {{\n{lines}    }}"


def _translate(
    function: Callable[..., tuple[Tensor, ...]], others: Sequence[Tensor], names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """C++ statements for a function of single numbers, and the expressions of its results."""
    example = torch.full((1,), 0.3, dtype=torch.float64)
    graph = _trace(function, (example, *others))
    given = iter(names)
    spelled: dict[torch.fx.Node, str] = {}
    lines: list[str] = []
    for node in graph.nodes:
        if node.op == "placeholder":
            spelled[node] = next(given)
        elif node.op == "call_function":
            expression = _spell(node, spelled)
            # A name for each result, so that the compiler sees what is computed twice.
            spelled[node] = f"v{len(lines)}"
            lines.append(f"const auto v{len(lines)} = {expression};")
        elif node.op == "output":
            return lines, [_value(result, spelled) for result in node.args[0]]
        else:
            raise UntranslatableError(f"a node of kind {node.op}")
    raise AssertionError("a graph ends with its output")


def _trace(function: Callable[..., Any], examples: tuple[Tensor, ...]) -> torch.fx.Graph:
    from torch._decomp import decomposition_table
    from torch.fx.experimental.proxy_tensor import make_fx

    kept = {*SPELLINGS, *TRANSPARENT, *CONSTANTS}
    table: dict[Any, Callable[..., Any]] = {
        op: formula for op, formula in decomposition_table.items() if _name(op) not in kept
    }
    return make_fx(torch.func.functionalize(function), decomposition_table=table)(*examples).graph


def _name(operation: Any) -> str:
    # `aten::mul.Tensor` is the overload Tensor of mul.
    full_name: str = operation.name() if hasattr(operation, "name") else str(operation)
    return full_name.rsplit("::", maxsplit=1)[-1].split(".", maxsplit=1)[0]


def _spell(node: torch.fx.Node, spelled: dict[torch.fx.Node, str]) -> str:
    name = _name(node.target)
    if name in TRANSPARENT:
        return _value(node.args[0], spelled)
    if name in CONSTANTS:
        constants: dict[str, Any] = {
            "empty_permuted": 0.0, "zeros_like": 0.0, "ones_like": 1.0, "scalar_tensor": node.args[0],
        }  # fmt: skip
        return _value(constants[name] if name in constants else node.args[1], spelled)
    if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode") is not None:
        raise UntranslatableError(f"{name} with {dict(node.kwargs)}")
    if name == "pow":
        return _power(_value(node.args[0], spelled), node.args[1])
    if name == "clamp":
        return _clamp(node, spelled)
    if name not in SPELLINGS:
        raise UntranslatableError(f"the operation {name}")
    return SPELLINGS[name].format(*(_value(argument, spelled) for argument in node.args))


def _clamp(node: torch.fx.Node, spelled: dict[torch.fx.Node, str]) -> str:
    low, high = [*node.args[1:], None, None][:2]
    text = _value(node.args[0], spelled)
    text = text if low is None else f"greatest({text}, {_value(low, spelled)})"
    return text if high is None else f"least({text}, {_value(high, spelled)})"


def _power(base: str, exponent: Any) -> str:
    if not isinstance(exponent, int | float) or exponent != int(exponent) or not 0 < exponent <= LONGEST_POWER:
        raise UntranslatableError(f"the power {exponent}")
    return "(" + " * ".join([base] * int(exponent)) + ")"


def _value(argument: Any, spelled: dict[torch.fx.Node, str]) -> str:
    if isinstance(argument, torch.fx.Node):
        return spelled[argument]
    if isinstance(argument, bool):
        return "true" if argument else "false"
    if isinstance(argument, int | float):
        if not math.isfinite(argument):
            raise UntranslatableError(f"the constant {argument}")
        return f"real({float(argument)!r})"
    raise UntranslatableError(f"an argument of type {type(argument).__name__}")
