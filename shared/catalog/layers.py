"""Networks as data: an architecture lists its layers, an engine builds them, the planner counts their cost.

Shapes are those of one example, without the batch: (features,) or (channels, height, width).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

Shape = tuple[int, ...]
# How weights and biases start, n_in and n_out the numbers of inputs and outputs of a layer (times its kernel's pixels):
# - torch_default: both U(-1/sqrt(n_in), 1/sqrt(n_in)), as torch.nn.Linear and Conv2d do. Biases of all others are 0.
# - glorot_standard: the same weights; glorot_normalized: U(+-sqrt(6 / (n_in + n_out))) (Glorot & Bengio 2010).
# - he: N(0, 2 / n_in) (He, Zhang, Ren & Sun 2015).
# - variance_preserving: N(0, g^2 / n_in), g = 1 / sqrt(E[f(z)^2]) for the activation f before the layer, z ~ N(0, 1);
#   g = 1 for the first layer (as self-normalizing networks, Klambauer et al. 2017, do for SELU, of which g is 1).
# - orthogonal: random orthonormal rows or columns (Saxe, McClelland & Ganguli 2014).
Init = Literal["torch_default", "glorot_standard", "glorot_normalized", "he", "variance_preserving", "orthogonal"]


@dataclass(frozen=True)
class Layer:
    """One step of a network; the defaults describe a layer without parameters that keeps its shape."""

    def output_shape(self, shape: Shape) -> Shape:
        """The shape after this layer; ValueError when `shape` does not fit."""
        return shape

    def num_parameters(self) -> int:
        """How many numbers the layer learns."""
        return 0

    def flops(self, shape: Shape) -> int:
        """Floating-point operations of the forward pass of one example of `shape`."""
        return prod(shape)


@dataclass(frozen=True)
class Linear(Layer):
    """Affine map of `num_in` to `num_out` features."""

    num_in: int
    num_out: int
    bias: bool
    init: Init = "torch_default"

    def output_shape(self, shape: Shape) -> Shape:
        if shape != (self.num_in,):
            raise ValueError(f"a linear layer of {self.num_in} features cannot follow the shape {shape}")
        return (self.num_out,)

    def num_parameters(self) -> int:
        return self.num_out * (self.num_in + self.bias)

    def flops(self, shape: Shape) -> int:
        return 2 * prod(shape) * self.num_out


@dataclass(frozen=True)
class Conv2d(Layer):
    """Square convolution."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    padding: int
    bias: bool
    init: Init = "torch_default"

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[0] != self.in_channels:
            raise ValueError(f"a convolution of {self.in_channels} channels cannot follow the shape {shape}")
        height, width = ((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in shape[1:])
        if min(height, width) < 1:
            raise ValueError(
                f"images of {shape[1]} x {shape[2]} are too small for a {self.kernel} x {self.kernel} kernel"
            )
        return (self.out_channels, height, width)

    def num_parameters(self) -> int:
        return self.out_channels * (self.in_channels * self.kernel**2 + self.bias)

    def flops(self, shape: Shape) -> int:
        return 2 * prod(self.output_shape(shape)) * self.in_channels * self.kernel**2


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation over examples (and pixels) of each feature (or channel)."""

    num_features: int

    def num_parameters(self) -> int:
        return 2 * self.num_features

    def flops(self, shape: Shape) -> int:
        return 8 * prod(shape)


@dataclass(frozen=True)
class Activate(Layer):
    """The place of the activation function that is compared."""

    def flops(self, shape: Shape) -> int:
        return 4 * prod(shape)


@dataclass(frozen=True)
class MaxPool2d(Layer):
    """Maximum over squares of `size` x `size` that do not overlap."""

    size: int

    def output_shape(self, shape: Shape) -> Shape:
        if min(shape[1:]) < self.size:
            raise ValueError(f"feature maps of {shape[1]} x {shape[2]} are too small to pool by {self.size}")
        return (shape[0], shape[1] // self.size, shape[2] // self.size)


@dataclass(frozen=True)
class Dropout(Layer):
    """Zeroes each number with probability `p` while training."""

    p: float


@dataclass(frozen=True)
class Flatten(Layer):
    """One vector from channels and pixels."""

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def flops(self, shape: Shape) -> int:  # noqa: ARG002 (nothing moves)
        return 0


@dataclass(frozen=True)
class Cost:
    """What one network costs: parameters, forward FLOPs of an example, numbers held of an example for the gradient."""

    num_parameters: int
    forward_flops: int
    activation_numbers: int


def output_shape(layers: Sequence[Layer], input_shape: Shape) -> Shape:
    """The shape after all layers; ValueError when two do not fit together."""
    shape = input_shape
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


def cost(layers: Sequence[Layer], input_shape: Shape) -> Cost:
    """Count parameters, FLOPs and held numbers of a network; ValueError when two layers do not fit together."""
    shape, parameters, flops, held = input_shape, 0, 0, prod(input_shape)
    for layer in layers:
        parameters += layer.num_parameters()
        flops += layer.flops(shape)
        shape = layer.output_shape(shape)
        held += prod(shape)
    return Cost(parameters, flops, held)


# Enough to keep a core busy; as many rows as need this many numbers are evaluated at once.
NUMBERS_PER_EVALUATION = 2**23
FEWEST_ROWS_EVALUATED = 16


def rows_evaluated_at_once(network: Cost) -> int:
    """How many examples to send through a network at once where no gradient is needed."""
    return max(FEWEST_ROWS_EVALUATED, NUMBERS_PER_EVALUATION // network.activation_numbers)
