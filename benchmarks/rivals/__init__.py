"""What our engine is measured against: other ways to train the same networks, one module each.

Every module has `train(spec, cells, rows) -> Outcome`. It trains one network for each cell on the rows of the same
place, as many epochs as the spec says, and judges it on the validation rows after each. Loading the rows is not part of
it: whoever compares activations does that once.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from benchmarks.rivals.cells import Cell, Outcome, Rows
from shared.spec import ExperimentSpec

# Which architectures each rival is written for.
RIVALS = {
    "study": ("mlp", "harrison_cnn"),
    "tight": ("mlp", "harrison_cnn"),
    "lightning_trainer": ("mlp",),
    "jax_vmap": ("mlp",),
}


class Train(Protocol):
    """The `train` of a rival."""

    def __call__(self, spec: ExperimentSpec, cells: Sequence[Cell], rows: Sequence[Rows]) -> Outcome: ...


def load_rival(name: str) -> Train:
    """A rival's `train`; its packages are imported here.

    Raises: ImportError: they are not installed; `pip install '.[bench]'` brings them.
    """
    assert name in RIVALS, name
    train: Train = import_module(f"benchmarks.rivals.{name}").train
    return train
