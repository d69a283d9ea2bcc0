"""Functions that gate their input smoothly, and the smooth rectifiers they descend from."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.catalog.activations.base import Activation, Positive

if TYPE_CHECKING:
    from torch import nn


class GELU(Activation):
    title = "Gaussian error linear unit"
    formula = "f(x) = x * Phi(x); tanh: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))"
    source = "Hendrycks & Gimpel 2016, Gaussian error linear units"
    kind: Literal["gelu"] = "gelu"
    approximate: Literal["none", "tanh"] = Field("none", description="`tanh`: the approximation by a tanh.")

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.GELU(approximate=self.approximate)


class SiLU(Activation):
    title, formula = "Sigmoid linear unit (Swish-1)", "f(x) = x / (1 + exp(-x))"
    source = "Elfwing, Uchibe & Doya 2018, Sigmoid-weighted linear units for neural network function approximation"
    kind: Literal["silu"] = "silu"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.SiLU()


class Mish(Activation):
    title, formula = "Mish", "f(x) = x * tanh(ln(1 + exp(x)))"
    source = "Misra 2020, Mish: a self regularized non-monotonic activation function"
    kind: Literal["mish"] = "mish"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Mish()


class Hardswish(Activation):
    title, formula = "Hard swish", "f(x) = x * min(max(0, x + 3), 6) / 6"
    source = "Howard et al. 2019, Searching for MobileNetV3"
    kind: Literal["hardswish"] = "hardswish"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Hardswish()


class Softplus(Activation):
    title, formula = "Softplus", "f(x) = ln(1 + exp(beta * x)) / beta"
    source = "Dugas, Bengio, Belisle, Nadeau & Garcia 2001, Incorporating second-order functional knowledge"
    kind: Literal["softplus"] = "softplus"
    beta: Positive = 1.0

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Softplus(self.beta)


class LogSigmoid(Activation):
    title, formula = "Logarithm of the sigmoid", "f(x) = -ln(1 + exp(-x))"
    source = "torch.nn.LogSigmoid; the negative of softplus mirrored"
    kind: Literal["log_sigmoid"] = "log_sigmoid"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.LogSigmoid()


class Swish(Activation):
    title, formula = "Swish", "f(x) = x / (1 + exp(-beta * x)); with learn_beta, one learned beta a layer"
    source = "Ramachandran, Zoph & Le 2017, Searching for activation functions"
    kind: Literal["swish"] = "swish"
    beta: Positive = 1.0
    learn_beta: bool = False

    def canonical(self) -> tuple[object, ...]:
        return SiLU().canonical() if self.beta == 1 and not self.learn_beta else super().canonical()

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Swish as SwishModule

        return SwishModule(self.beta, learn_beta=self.learn_beta)


class TanhExp(Activation):
    title, formula = "TanhExp", "f(x) = x * tanh(exp(x))"
    source = "Liu & Di 2020, TanhExp: a smooth activation function with high convergence speed"
    kind: Literal["tanh_exp"] = "tanh_exp"

    def build(self) -> "nn.Module":
        from shared.catalog.modules import TanhExp as TanhExpModule

        return TanhExpModule()


class Serf(Activation):
    title, formula = "Serf", "f(x) = x * erf(ln(1 + exp(x)))"
    source = "Nag & Bhattacharyya 2021, SERF: towards better training of deep neural networks using log-softplus erf"
    kind: Literal["serf"] = "serf"

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Serf as SerfModule

        return SerfModule()


class LiSHT(Activation):
    title, formula = "Linearly scaled tanh", "f(x) = x * tanh(x)"
    source = "Roy, Manna, Dubey & Chaudhuri 2019, LiSHT: non-parametric linearly scaled hyperbolic tangent"
    kind: Literal["lisht"] = "lisht"

    def build(self) -> "nn.Module":
        from shared.catalog.modules import LiSHT as LiSHTModule

        return LiSHTModule()
