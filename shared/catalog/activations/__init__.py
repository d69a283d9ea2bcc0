"""The functions that are compared. Each is element-wise; everything else in the network stays the same."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from shared.catalog.activations import gated, linear, periodic, rectifiers, sigmoids  # noqa: F401 (registers them)
from shared.catalog.activations.base import Activation
from shared.catalog.activations.rectifiers import ReLU
from shared.catalog.base import family, one_of

__all__ = ["ACTIVATIONS", "Activation", "AnyActivation", "ReLU", "same_functions"]

ACTIVATIONS = family(Activation)
if TYPE_CHECKING:
    AnyActivation = Activation
else:
    AnyActivation = one_of(Activation, "activation", shorthand=True)


def same_functions(activations: Sequence[Activation]) -> list[tuple[str, str]]:
    """Labels of the pairs that differ in name only, such as `elu` and `celu` at alpha = 1: a comparison of no use."""
    return [(a.name, b.name) for a, b in combinations(activations, 2) if a.canonical() == b.canonical()]
