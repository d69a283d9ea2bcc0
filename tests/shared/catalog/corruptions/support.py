"""Small data sets to be corrupted, one for each task."""

from functools import cache
from pathlib import Path

import numpy as np

from shared.catalog.base import Task
from shared.catalog.corruptions import Corruption, TrainingSet, corrupt
from shared.catalog.datasets import Dataset
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny

NUM_ROWS = 200


@cache
def dataset_of(task: Task, num_rows: int = NUM_ROWS) -> Dataset:
    base = TINY_REGRESSION if task == "regression" else TINY_CLASSIFICATION
    entry = tiny(base, corruption=None, dataset={"train_size": num_rows}).dataset
    return entry.load(base_seed=0, seed=0, datasets_dir=Path("nowhere"))


def dataset_for(corruption: Corruption, *, num_rows: int = NUM_ROWS) -> Dataset:
    return dataset_of("regression" if corruption.fits("regression") else "classification", num_rows)


def dirty(
    corruption: Corruption, rate: float, *, base_seed: int = 0, seed: int = 0, num_rows: int = NUM_ROWS
) -> TrainingSet:
    return corrupt(dataset_for(corruption, num_rows=num_rows), corruption, rate, base_seed=base_seed, seed=seed)


def changed_rows(rows: TrainingSet, clean: Dataset) -> list[int]:
    inputs_differ = (rows.inputs != clean.train_inputs).reshape(len(rows.inputs), -1).any(axis=1)
    changed: list[int] = np.flatnonzero((rows.targets != clean.train_targets) | inputs_differ).tolist()
    return changed
