"""The functions that are compared. Each is element-wise; everything else in the network stays the same."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.catalog.base import Entry, family, one_line, one_of

if TYPE_CHECKING:
    from torch import nn

Slope = Annotated[float, Field(ge=-10, le=10)]
Positive = Annotated[float, Field(gt=0, le=100)]
Label = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(one_line)]


class Activation(Entry):
    """An element-wise function; `label` names it in answers and must be unique within an experiment."""

    learnable: ClassVar[bool] = False

    label: Label | None = Field(None, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _label_by_parameters(cls, data: Any) -> Any:
        """Two entries that differ in a parameter must read differently: `leaky_relu(negative_slope=0.2)`."""
        if not isinstance(data, dict) or data.get("label") is not None:
            return data
        defaults = {name: field.default for name, field in cls.model_fields.items() if name not in {"kind", "label"}}
        given = [
            f"{name}={_as_read(data[name], default)}"
            for name, default in defaults.items()
            if name in data and data[name] != default
        ]
        kind = cls.model_fields["kind"].default
        label = f"{kind}({', '.join(given)})" if given else kind
        return {**data, "label": label[:80]}

    @property
    def name(self) -> str:
        """The label, which validation has filled in."""
        assert self.label is not None
        return self.label

    def build(self) -> "nn.Module":
        """A torch module without state of its own but for learnable parameters."""
        raise NotImplementedError


def _as_read(value: object, default: object) -> object:
    """A whole number for a real parameter as the real number that it is: 1 and 1.0 are one function."""
    return float(value) if isinstance(default, float) and type(value) is int else value


class Identity(Activation):
    title, formula = "Identity (control)", "f(x) = x"
    source = "control: a network without non-linearity"
    kind: Literal["identity"] = "identity"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Identity()


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

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.LeakyReLU(self.negative_slope)


class PReLU(Activation):
    title, formula = "Parametric ReLU", "f(x) = x if x >= 0 else a * x, with one learned a a layer"
    source = "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers"
    learnable = True
    kind: Literal["prelu"] = "prelu"
    init: Slope = 0.25

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

    def build(self) -> "nn.Module":
        from shared.catalog.modules import RReLU as RReLUModule

        return RReLUModule(self.lower, self.upper)


class ReLU6(Activation):
    title, formula = "ReLU6", "f(x) = min(max(0, x), 6)"
    source = "Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10"
    kind: Literal["relu6"] = "relu6"

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


class GELU(Activation):
    title = "Gaussian error linear unit"
    formula = "f(x) = x * Phi(x); tanh: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))"
    source = "Hendrycks & Gimpel 2016, Gaussian error linear units"
    kind: Literal["gelu"] = "gelu"
    approximate: Literal["none", "tanh"] = "none"

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


class Softshrink(Activation):
    title, formula = "Soft shrinkage", "f(x) = sign(x) * max(0, |x| - lambd)"
    source = "Donoho 1995, De-noising by soft-thresholding"
    kind: Literal["softshrink"] = "softshrink"
    lambd: Annotated[float, Field(ge=0, le=100)] = 0.5

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Softshrink(self.lambd)


class Hardshrink(Activation):
    title, formula = "Hard shrinkage", "f(x) = x if |x| > lambd else 0"
    source = "Donoho & Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage"
    kind: Literal["hardshrink"] = "hardshrink"
    lambd: Annotated[float, Field(ge=0, le=100)] = 0.5

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Hardshrink(self.lambd)


class Tanhshrink(Activation):
    title, formula = "Tanh shrinkage", "f(x) = x - tanh(x)"
    source = "torch.nn.Tanhshrink"
    kind: Literal["tanhshrink"] = "tanhshrink"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Tanhshrink()


ACTIVATIONS = family(Activation)
if TYPE_CHECKING:
    AnyActivation = Activation
else:
    AnyActivation = one_of(Activation, "activation", shorthand=True)
