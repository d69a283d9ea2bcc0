"""The control, and the functions that differ from it by a dead zone around zero."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from shared.catalog.activations.base import Activation

if TYPE_CHECKING:
    from torch import nn

Threshold = Annotated[float, Field(ge=0, le=100)]


class Identity(Activation):
    title, formula = "Identity (control)", "f(x) = x"
    source = "control: a network without non-linearity"
    kind: Literal["identity"] = "identity"

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Identity()


class Softshrink(Activation):
    title, formula = "Soft shrinkage", "f(x) = sign(x) * max(0, |x| - lambd)"
    source = "Donoho 1995, De-noising by soft-thresholding"
    kind: Literal["softshrink"] = "softshrink"
    lambd: Threshold = 0.5

    def canonical(self) -> tuple[object, ...]:
        return Identity().canonical() if self.lambd == 0 else super().canonical()

    def build(self) -> "nn.Module":
        from torch import nn

        return nn.Softshrink(self.lambd)


class Hardshrink(Activation):
    title, formula = "Hard shrinkage", "f(x) = x if |x| > lambd else 0"
    source = "Donoho & Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage"
    kind: Literal["hardshrink"] = "hardshrink"
    lambd: Threshold = 0.5

    def canonical(self) -> tuple[object, ...]:
        return Identity().canonical() if self.lambd == 0 else super().canonical()

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
