"""Functions with a period."""

from typing import TYPE_CHECKING, Literal

from shared.catalog.activations.base import Activation, Positive

if TYPE_CHECKING:
    from torch import nn


class Sine(Activation):
    title, formula = "Sine", "f(x) = sin(omega * x)"
    source = "Sitzmann, Martel, Bergman, Lindell & Wetzstein 2020, Implicit neural representations (there omega = 30)"
    kind: Literal["sine"] = "sine"
    omega: Positive = 1.0

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Sine as SineModule

        return SineModule(self.omega)


class Snake(Activation):
    title, formula = "Snake", "f(x) = x + sin(alpha * x)^2 / alpha"
    source = "Ziyin, Hartwig & Ueda 2020, Neural networks fail to learn periodic functions and how to fix it"
    kind: Literal["snake"] = "snake"
    alpha: Positive = 1.0

    def build(self) -> "nn.Module":
        from shared.catalog.modules import Snake as SnakeModule

        return SnakeModule(self.alpha)
