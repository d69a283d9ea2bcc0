"""Networks of one shape as one module: every tensor has a first axis K, and no number crosses it.

Shape letters: K networks, B batch, F features, C channels, H W pixels.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from shared.training.network import Layers, Network


class StackedLinear(nn.Module):
    """K affine maps: (K, B, F_in) to (K, B, F_out)."""

    def __init__(self, singles: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stack([single.weight for single in singles])
        self.bias = _stack_if_any([single.bias for single in singles])

    def forward(self, inputs_KBF: Tensor) -> Tensor:
        weight_KFF = self.weight.transpose(1, 2)
        if self.bias is None:
            return torch.bmm(inputs_KBF, weight_KFF)
        return torch.baddbmm(self.bias.unsqueeze(1), inputs_KBF, weight_KFF)


class StackedConv2d(nn.Module):
    """K convolutions as the groups of one: (K, B, C_in, H, W) to (K, B, C_out, H', W')."""

    def __init__(self, singles: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.stride, self.padding = singles[0].stride, singles[0].padding
        self.weight = _stack([single.weight for single in singles])
        self.bias = _stack_if_any([single.bias for single in singles])

    def forward(self, inputs_KBCHW: Tensor) -> Tensor:
        num_networks = len(inputs_KBCHW)
        side_by_side = inputs_KBCHW.transpose(0, 1).flatten(1, 2)
        outputs = nn.functional.conv2d(
            side_by_side, self.weight.flatten(0, 1), None if self.bias is None else self.bias.flatten(),
            self.stride, self.padding, groups=num_networks,
        )  # fmt: skip
        apart: Tensor = outputs.unflatten(1, (num_networks, -1))
        return apart.transpose(0, 1)


class StackedBatchNorm(nn.Module):
    """Batch norm of each of K networks over its own batch (and pixels)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, singles: Sequence[Any]) -> None:
        super().__init__()
        self.eps, self.momentum = singles[0].eps, singles[0].momentum
        self.weight = _stack([single.weight for single in singles])
        self.bias = _stack([single.bias for single in singles])
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.stack([getattr(single, name) for single in singles]))

    def forward(self, inputs: Tensor) -> Tensor:
        averaged = (1, *range(3, inputs.dim()))
        if self.training:
            variance, mean = torch.var_mean(inputs, averaged, correction=0)
            self._remember(mean.detach(), variance.detach(), inputs[0, :, 0].numel())
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(_beside(shift, inputs), inputs, _beside(scale, inputs))

    def _remember(self, mean_KF: Tensor, variance_KF: Tensor, num_averaged: int) -> None:
        unbiased = variance_KF * (num_averaged / (num_averaged - 1))
        self.running_mean.lerp_(mean_KF, self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)


class StackedFlatten(nn.Module):
    """One vector an example from channels and pixels: (K, B, ...) to (K, B, F)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(2)


class StackedPool(nn.Module):
    """K times the same pooling: networks and batch are one long batch to it."""

    def __init__(self, single: nn.Module) -> None:
        super().__init__()
        self.single = single

    def forward(self, inputs_KBCHW: Tensor) -> Tensor:
        pooled: Tensor = self.single(inputs_KBCHW.flatten(0, 1))
        apart: Tensor = pooled.unflatten(0, inputs_KBCHW.shape[:2])
        return apart


class StackedActivation(nn.Module):
    """K times the same activation, each with parameters of its own; any element-wise module will do."""

    def __init__(self, singles: Sequence[nn.Module]) -> None:
        super().__init__()
        # Not registered: its parameters are a template, the stacked ones are learned.
        self._template = (copy.deepcopy(singles[0]),)
        self._names = [name for name, _ in singles[0].named_parameters()]
        for name in self._names:
            self.register_parameter(name, _stack([single.get_parameter(name) for single in singles]))

    def forward(self, inputs: Tensor) -> Tensor:
        (template,) = self._template

        def apply(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
            result: Tensor = functional_call(template, parameters, (one,))
            return result

        outputs: Tensor = vmap(apply)({name: getattr(self, name) for name in self._names}, inputs)
        return outputs


class StackedNetwork(Layers):
    """K networks of the same layers; the weights of the single ones are copied."""

    def __init__(self, singles: Sequence[Network]) -> None:
        built = [_stack_layer(layers) for layers in zip(*singles, strict=True)]
        activations = {id(module) for module in singles[0].activation_modules}
        super().__init__(
            built, [module for single, module in zip(singles[0], built, strict=True) if id(single) in activations]
        )


def _stack_layer(singles: Sequence[Any]) -> nn.Module:
    first = singles[0]
    makers: tuple[tuple[type[nn.Module], Callable[[], nn.Module]], ...] = (
        (nn.Linear, lambda: StackedLinear(singles)),
        (nn.Conv2d, lambda: StackedConv2d(singles)),
        (nn.modules.batchnorm._BatchNorm, lambda: StackedBatchNorm(singles)),
        (nn.MaxPool2d, lambda: StackedPool(first)),
        (nn.Flatten, StackedFlatten),
    )
    for kind, make in makers:
        if isinstance(first, kind):
            return make()
    if any(True for _ in first.parameters()):
        return StackedActivation(singles)
    # Element-wise and without parameters: it takes any shape.
    element_wise: nn.Module = copy.deepcopy(first)
    return element_wise


def _beside(values_KF: Tensor, inputs: Tensor) -> Tensor:
    """(K, F) as (K, 1, F, 1, ...), to be broadcast over batch and pixels."""
    return values_KF.reshape(len(values_KF), 1, -1, *(1,) * (inputs.dim() - 3))


def _stack(tensors: Sequence[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([tensor.detach() for tensor in tensors]))


def _stack_if_any(tensors: Sequence[Tensor | None]) -> nn.Parameter | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return _stack(present) if present else None
