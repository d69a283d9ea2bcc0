"""The rectifiers: linear above zero, and something smaller below."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from shared.catalog.activations.base import Activation, Positive, Slope
from shared.catalog.activations.linear import Identity
from shared.catalog.activations.sigmoids import Hardtanh

if TYPE_CHECKING:
    from torch import nn


class ReLU(Activation):
    title, formula = "Rectified linear unit", "f(x) = max(0, x)"
    source = "Nair & Hinton 2010, Rectified linear units improve restricted Boltzmann machines"
    kind: Literal["relu"] = "relu"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.ReLU()


class LeakyReLU(Activation):
    title, formula = "Leaky ReLU", "f(x) = x if x >= 0 else negative_slope * x"
    source = "Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network acoustic models"
    kind: Literal["leaky_relu"] = "leaky_relu"
    negative_slope: Slope = 0.01

    def canonical(self) -> tuple[object, ...]:
        at = {0: ReLU, 1: Identity}
        return at[int(self.negative_slope)]().canonical() if self.negative_slope in at else super().canonical()

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.LeakyReLU(self.negative_slope)


class PReLU(Activation):
    title, formula = "Parametric ReLU", "f(x) = x if x >= 0 else a * x, with one learned a a layer"
    source = "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers"
    learnable = True
    kind: Literal["prelu"] = "prelu"
    init: Slope = Field(0.25, description="What the learned slope starts from.")

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.PReLU(init=self.init)


class RReLU(Activation):
    title = "Randomised leaky ReLU"
    formula = "f(x) = x if x >= 0 else a * x, a ~ U(lower, upper) per element in training, (lower + upper) / 2 after"
    source = "Xu, Wang, Chen & Li 2015, Empirical evaluation of rectified activations in convolutional network"
    kind: Literal["rrelu"] = "rrelu"
    lower: Slope = 0.125
    upper: Slope = 1 / 3

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower > self.upper:
            raise ValueError("'lower' must be at most 'upper'")
        return self

    def canonical(self) -> tuple[object, ...]:
        if self.lower == self.upper:
            return LeakyReLU(negative_slope=self.lower).canonical()
        return super().canonical()

    def build(self) -> "nn.Module":
        from shared.catalog.modules import RReLU as RReLUModule

        return RReLUModule(self.lower, self.upper)


class ReLU6(Activation):
    title, formula = "ReLU6", "f(x) = min(max(0, x), 6)"
    source = "Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10"
    kind: Literal["relu6"] = "relu6"

    def canonical(self) -> tuple[object, ...]:
        return Hardtanh(min_val=0.0, max_val=6.0).canonical()

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.ReLU6()


class ELU(Activation):
    title, formula = "Exponential linear unit", "f(x) = x if x > 0 else alpha * (exp(x) - 1)"
    source = "Clevert, Unterthiner & Hochreiter 2016, Fast and accurate deep network learning by ELUs"
    kind: Literal["elu"] = "elu"
    alpha: Positive = 1.0

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.ELU(self.alpha)


class CELU(Activation):
    title, formula = "Continuously differentiable ELU", "f(x) = max(0, x) + min(0, alpha * (exp(x / alpha) - 1))"
    source = "Barron 2017, Continuously differentiable exponential linear units"
    kind: Literal["celu"] = "celu"
    alpha: Positive = 1.0

    def canonical(self) -> tuple[object, ...]:
        return ELU().canonical() if self.alpha == 1 else super().canonical()

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.CELU(self.alpha)


class SELU(Activation):
    title = "Scaled ELU"
    formula = "f(x) = 1.0507 * (x if x > 0 else 1.6733 * (exp(x) - 1))"
    source = "Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural networks"
    kind: Literal["selu"] = "selu"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.SELU()


class ISRLU(Activation):
    title = "Inverse square root linear unit"
    formula = "f(x) = x if x >= 0 else x / sqrt(1 + alpha * x^2)"
    source = "Carlile, Delamarter, Kinney, Marti & Whitney 2017, Improving deep learning by ISRLUs"
    kind: Literal["isrlu"] = "isrlu"
    alpha: Positive = 1.0

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Isrlu

        return Isrlu(self.alpha)


class SquaredReLU(Activation):
    title, formula = "Squared ReLU", "f(x) = max(0, x)^2"
    source = "So et al. 2021, Primer: searching for efficient transformers for language modeling"
    kind: Literal["squared_relu"] = "squared_relu"

    def build(self) -> "nn.Module":
        from shared.catalog.modules import SquaredReLU as SquaredReLUModule

        return SquaredReLUModule()
