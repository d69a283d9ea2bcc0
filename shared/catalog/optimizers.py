"""The optimisers. Learnable slopes of an activation get no weight decay unless a spec says so."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from shared.catalog.base import Entry, family, one_of

if TYPE_CHECKING:
    import torch

LearningRate = Annotated[float, Field(gt=0, le=100, description="Learning rate of the first epoch.")]
Decay = Annotated[float, Field(ge=0, le=10, description="Weight decay.")]
Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[
    tuple[Beta, Beta], Field(strict=False, description="Decay of the running means of the gradient and its square.")
]
Groups = Iterable[dict[str, Any]]


class Optimizer(Entry):
    """Update rule of the weights."""

    lr: LearningRate
    weight_decay: Decay
    decay_activations: bool = Field(False, description="Also decay what activations learn, such as PReLU's slope.")

    def build(self, groups: Groups) -> "torch.optim.Optimizer":
        """A torch optimiser over parameter groups, each with a `weight_decay` of its own."""
        raise NotImplementedError


class Adam(Optimizer):
    title, formula = "Adam", "w -= lr * m / (sqrt(v) + 1e-8), m and v bias-corrected; decay is added to the gradient"
    source = "Kingma & Ba 2015, Adam: a method for stochastic optimization"
    kind: Literal["adam"] = "adam"
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    weight_decay: Decay = 0.0

    def build(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.Adam(groups, lr=self.lr, betas=self.betas, fused=True)


class AdamW(Optimizer):
    title, formula = "AdamW", "Adam with decay taken from the weights: w -= lr * weight_decay * w"
    source = "Loshchilov & Hutter 2019, Decoupled weight decay regularization"
    kind: Literal["adamw"] = "adamw"
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    weight_decay: Decay = 0.01

    def build(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, fused=True)


class Sgd(Optimizer):
    title, formula = "Stochastic gradient descent", "u = momentum * u + g; w -= lr * u (nesterov: g + momentum * u)"
    source = "Robbins & Monro 1951; Sutskever, Martens, Dahl & Hinton 2013 for momentum"
    kind: Literal["sgd"] = "sgd"
    lr: LearningRate = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1, description="Share of the last update that is kept.")] = 0.0
    nesterov: bool = Field(False, description="Nesterov's form of momentum.")
    weight_decay: Decay = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("'nesterov' needs a 'momentum' above 0")
        return self

    def build(self, groups: Groups) -> "torch.optim.Optimizer":
        import torch

        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=True)


OPTIMIZERS = family(Optimizer)
if TYPE_CHECKING:
    AnyOptimizer = Optimizer
else:
    AnyOptimizer = one_of(Optimizer, "optimiser")
