"""Functions shaped like an S."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.catalog.activations.base import Activation, Positive

if TYPE_CHECKING:
    from torch import nn


class Sigmoid(Activation):
    title, formula = "Logistic sigmoid", "f(x) = 1 / (1 + exp(-x))"
    source = "Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors"
    kind: Literal["sigmoid"] = "sigmoid"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Sigmoid()


class Hardsigmoid(Activation):
    title, formula = "Hard sigmoid", "f(x) = min(max(0, x + 3), 6) / 6"
    source = "Courbariaux, Bengio & David 2015, BinaryConnect; torch's slope of 1/6"
    kind: Literal["hardsigmoid"] = "hardsigmoid"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Hardsigmoid()


class Tanh(Activation):
    title, formula = "Hyperbolic tangent", "f(x) = tanh(x)"
    source = "LeCun, Bottou, Orr & Mueller 1998, Efficient backprop"
    kind: Literal["tanh"] = "tanh"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Tanh()


class Hardtanh(Activation):
    title, formula = "Hard tanh", "f(x) = min(max(min_val, x), max_val)"
    source = "Collobert 2004, Large scale machine learning"
    kind: Literal["hardtanh"] = "hardtanh"
    min_val: Annotated[float, Field(ge=-100, le=100)] = -1.0
    max_val: Annotated[float, Field(ge=-100, le=100)] = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_val >= self.max_val:
            raise ValueError("'min_val' must be less than 'max_val'")
        return self

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Hardtanh(self.min_val, self.max_val)


class Softsign(Activation):
    title, formula = "Softsign", "f(x) = x / (1 + |x|)"
    source = "Bergstra, Desjardins, Lamblin & Bengio 2009, Quadratic polynomials learn better image features"
    kind: Literal["softsign"] = "softsign"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Softsign()


class LeCunTanh(Activation):
    title, formula = "Scaled tanh of LeCun", "f(x) = 1.7159 * tanh(2 * x / 3)"
    source = "LeCun, Bottou, Orr & Mueller 1998, Efficient backprop"
    kind: Literal["lecun_tanh"] = "lecun_tanh"

    def build(self) -> "nn.Module":
        from shared.catalog.modules import LeCunTanh as LeCunTanhModule

        return LeCunTanhModule()


class Arctan(Activation):
    title, formula = "Arctangent", "f(x) = arctan(x)"
    source = "Kamruzzaman & Aziz 2002, A note on activation function in multilayer feedforward learning"
    kind: Literal["arctan"] = "arctan"

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Arctan as ArctanModule

        return ArctanModule()


class Asinh(Activation):
    title, formula = "Inverse hyperbolic sine", "f(x) = asinh(x) = ln(x + sqrt(x^2 + 1)): grows like a logarithm"
    source = "Johnson 1949, Systems of frequency curves; the transform that tames outliers of either sign"
    kind: Literal["asinh"] = "asinh"

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Asinh as AsinhModule

        return AsinhModule()


class ISRU(Activation):
    title, formula = "Inverse square root unit", "f(x) = x / sqrt(1 + alpha * x^2)"
    source = "Carlile, Delamarter, Kinney, Marti & Whitney 2017, Improving deep learning by ISRLUs"
    kind: Literal["isru"] = "isru"
    alpha: Positive = 1.0

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Isru

        return Isru(self.alpha)
