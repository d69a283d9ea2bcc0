"""The networks: each entry lists its layers for the shape of an example and the number of outputs."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.catalog.base import Entry, family, one_of
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
    output_shape,
)

Probability = Annotated[float, Field(ge=0, lt=1, description="Probability with which dropout takes a unit out.")]


class Architecture(Entry):
    """A network with one activation function in all its places."""

    init: Init = Field("torch_default", description="How the weights of linear and convolutional layers start.")

    def layers(self, input_shape: Shape, num_outputs: int) -> list[Layer]:
        """The network as data.

        Args:
            input_shape: shape of one example, (features,) or (channels, height, width).
            num_outputs: classes, or 1 for regression.
        Raises: ValueError: the architecture cannot take examples of that shape.
        """
        plain = self.plain_layers(input_shape, num_outputs)
        return [replace(layer, init=self.init) if isinstance(layer, Linear | Conv2d) else layer for layer in plain]

    def plain_layers(self, input_shape: Shape, num_outputs: int) -> list[Layer]:
        """The layers before `init` is written into them."""
        raise NotImplementedError

    @property
    def normalises_batches(self) -> bool:
        """Whether a batch of a single example is impossible in training."""
        raise NotImplementedError


class Mlp(Architecture):
    title = "Multilayer perceptron"
    formula = "per hidden layer: linear, [batch norm], activation, [dropout]; then linear"
    source = "Rumelhart, Hinton & Williams 1986; the study's multivariate network is 10-128-64-1 with batch norm"
    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=8192)], ...],
        Field(strict=False, min_length=1, max_length=20, description="Widths of the hidden layers."),
    ] = (128, 64)
    batch_norm: bool = Field(True, description="Batch norm before each activation.")
    dropout: Probability = 0.0

    @property
    def normalises_batches(self) -> bool:
        return self.batch_norm

    def plain_layers(self, input_shape: Shape, num_outputs: int) -> list[Layer]:
        layers: list[Layer] = [Flatten()] if len(input_shape) > 1 else []
        (width,) = output_shape(layers, input_shape)
        for num_hidden in self.hidden:
            # Batch norm cancels a bias right before it, and Adam would amplify the bias's rounding.
            layers.append(Linear(width, num_hidden, bias=not self.batch_norm))
            layers += [BatchNorm(num_hidden)] if self.batch_norm else []
            layers.append(Activate())
            layers += [Dropout(self.dropout)] if self.dropout else []
            width = num_hidden
        return [*layers, Linear(width, num_outputs, bias=True)]


class HarrisonCnn(Architecture):
    title = "The study's convolutional network"
    formula = (
        "conv(10, 5x5, stride 2) BN act pool2; conv(16, 5x5, pad 2) BN act pool2; conv(24, 3x3, pad 1) BN act; "
        "[dropout] linear(512) BN act; [dropout] linear(128) BN act; [linear(classes)]"
    )
    source = "Harrison, On the robustness of activation functions; needs images of at least 11 x 11"
    kind: Literal["harrison_cnn"] = "harrison_cnn"
    dropout: Probability = 0.0
    output_layer: bool = Field(
        True, description="false, as the notebooks ran it: the 128 activated features are the logits themselves."
    )

    @property
    def normalises_batches(self) -> bool:
        return True

    def plain_layers(self, input_shape: Shape, num_outputs: int) -> list[Layer]:
        if len(input_shape) != 3:
            raise ValueError("'harrison_cnn' needs images; 'mlp' takes any data set")
        features: list[Layer] = [
            Conv2d(input_shape[0], 10, kernel=5, stride=2, padding=0, bias=False), BatchNorm(10), Activate(),
            MaxPool2d(2),
            Conv2d(10, 16, kernel=5, stride=1, padding=2, bias=False), BatchNorm(16), Activate(),
            MaxPool2d(2),
            Conv2d(16, 24, kernel=3, stride=1, padding=1, bias=False), BatchNorm(24), Activate(),
            Flatten(),
        ]  # fmt: skip
        (num_features,) = output_shape(features, input_shape)
        drop: list[Layer] = [Dropout(self.dropout)] if self.dropout else []
        output: list[Layer] = [Linear(128, num_outputs, bias=True)] if self.output_layer else []
        return [
            *features,
            *drop, Linear(num_features, 512, bias=False), BatchNorm(512), Activate(),
            *drop, Linear(512, 128, bias=False), BatchNorm(128), Activate(),
            *output,
        ]  # fmt: skip


ARCHITECTURES = family(Architecture)
if TYPE_CHECKING:
    AnyArchitecture = Architecture
else:
    AnyArchitecture = one_of(Architecture, "architecture")
