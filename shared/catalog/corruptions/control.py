"""No dirt at all: the second arm is clean as well, and whatever the comparison finds is chance."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shared.catalog.base import Task
from shared.catalog.corruptions.base import Corruption, Replacements
from shared.catalog.datasets.base import Dataset
from shared.seeds import stream_seed


class NoDirt(Corruption):
    title = "No dirt (A/A check)"
    formula = "clean against clean: at each rate, which is a name only, data, weights and order of independent seeds"
    source = "Kohavi, Longbotham, Sommerfield & Henne 2009, Controlled experiments on the web (A/A tests)"
    kind: Literal["none"] = "none"
    pairing: Literal["independent"] = Field(
        "independent", description="The second clean arm draws everything from seeds of its own."
    )

    def fits(self, task: Task) -> bool:
        return task in {"regression", "classification"}

    def seed_of_arm(self, seed: int, rate: float) -> int:
        return seed if rate == 0 else stream_seed(seed, seed, "independent_arm", str(rate))

    def mask(self, dataset: Dataset, rate: float, *, base_seed: int, seed: int) -> NDArray[np.bool_]:
        del rate, base_seed, seed
        return np.zeros(len(dataset.train_targets), dtype=np.bool_)

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        del dataset, base_seed, seed
        return Replacements()
