"""The losses, per example, and the null score: what a network that learned nothing gets."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from shared.catalog.base import Entry, Task, family
from shared.catalog.datasets.base import AnyArray

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Entry):
    """A loss; the spec names it by its `kind` alone."""

    task: ClassVar[Task]

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Losses (B,) of outputs (B, num_outputs) for targets (B,)."""
        raise NotImplementedError

    def null_score(self, targets: AnyArray) -> float:
        """Mean loss over `targets` (N,) of the best prediction that ignores the inputs."""
        raise NotImplementedError


class Mse(Loss):
    title, formula, source = "Squared error", "(f(x) - y)^2", "Gauss 1809"
    task = "regression"
    kind: Literal["mse"] = "mse"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        return (outputs.squeeze(-1) - targets).square()

    def null_score(self, targets: AnyArray) -> float:
        return float(np.var(targets))


class Mae(Loss):
    title, formula, source = "Absolute error", "|f(x) - y|", "Laplace 1774"
    task = "regression"
    kind: Literal["mae"] = "mae"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        return (outputs.squeeze(-1) - targets).abs()

    def null_score(self, targets: AnyArray) -> float:
        return float(np.abs(targets - np.median(targets)).mean())


class Huber(Loss):
    title, formula = "Huber loss", "e^2 / 2 where |e| <= 1, else |e| - 1/2, with e = f(x) - y"
    source = "Huber 1964, Robust estimation of a location parameter"
    task = "regression"
    kind: Literal["huber"] = "huber"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        from torch.nn.functional import huber_loss

        return huber_loss(outputs.squeeze(-1), targets, reduction="none")

    def null_score(self, targets: AnyArray) -> float:
        from scipy.optimize import minimize_scalar
        from scipy.special import huber

        def mean_loss(constant: float) -> float:
            return float(huber(1.0, targets - constant).mean())

        return float(minimize_scalar(mean_loss, bounds=(targets.min(), targets.max()), method="bounded").fun)


class CrossEntropy(Loss):
    title, formula = "Cross-entropy", "-ln softmax(f(x))[y]"
    source = "Bridle 1990, Probabilistic interpretation of feedforward classification network outputs"
    task = "classification"
    kind: Literal["cross_entropy"] = "cross_entropy"

    def per_example(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets, reduction="none")

    def null_score(self, targets: AnyArray) -> float:
        _, counts = np.unique(targets, return_counts=True)
        priors = counts / counts.sum()
        return float(-(priors * np.log(priors)).sum())


LOSSES: dict[str, type[Loss]] = family(Loss)
LossName = Literal["mse", "mae", "huber", "cross_entropy"]


def null_accuracy(targets: AnyArray) -> float:
    """Share of the largest class: what always answering it would get."""
    _, counts = np.unique(targets, return_counts=True)
    return float(counts.max() / counts.sum())
