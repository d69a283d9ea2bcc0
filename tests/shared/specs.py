"""Specs small enough that a run takes milliseconds."""

from collections.abc import Mapping
from typing import Any

from shared.catalog.base import EntryT
from shared.spec import ExperimentSpec, merge_patch, resolve

TINY_REGRESSION: Mapping[str, Any] = {
    "name": "tiny regression",
    "dataset": {"kind": "fbm", "num_columns": 6, "train_size": 40, "val_size": 30},
    "corruption": {"kind": "gaussian", "rates": [0.2]},
    "architecture": {"kind": "mlp", "hidden": [8, 6], "batch_norm": True},
    "activations": ["relu"],
    "training": {"epochs": 3, "batch_size": 16},
    "num_seeds": 2,
}

TINY_CLASSIFICATION: Mapping[str, Any] = {
    "name": "tiny classification",
    "dataset": {"kind": "digits", "train_size": 60, "val_size": 40},
    "corruption": {"kind": "symmetric", "rates": [0.2]},
    "architecture": {"kind": "mlp", "hidden": [8, 6], "batch_norm": True},
    "activations": ["relu"],
    "training": {"epochs": 3, "batch_size": 16},
    "num_seeds": 2,
}


def tiny(base: Mapping[str, Any] = TINY_REGRESSION, **changes: Any) -> ExperimentSpec:
    """A resolved tiny spec; `changes` are merged into its document."""
    return resolve(merge_patch(base, changes))


def tiny_serial(base: Mapping[str, Any] = TINY_REGRESSION, **changes: Any) -> ExperimentSpec:
    """The same one network after another, unless it names an engine: its slices can be counted."""
    return tiny(base, **merge_patch({"training": {"engine": "serial"}}, changes))


def make(entries: Mapping[str, type[EntryT]], kind: str, **parameters: Any) -> EntryT:
    """The entry of a family with these parameters."""
    return entries[kind].model_validate({"kind": kind, **parameters})
