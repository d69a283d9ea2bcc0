"""Dirt on columns of real numbers: noise of three shapes, and values that are missing.

Noise on inputs and on the target comes from two streams: noise on one side alone is the noise of both, less the
other's. Shape letters: N rows, F columns.
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shared.catalog.base import Task
from shared.catalog.corruptions.base import Corruption, Replacements
from shared.catalog.datasets.base import Dataset
from shared.seeds import numpy_stream

Array = NDArray[np.float64]
Side = Literal["inputs", "target", "inputs_and_target"]
Scale = Annotated[float, Field(gt=0, le=1000)]


class AddedNoise(Corruption):
    """Noise that is added to what `on` names."""

    on: Side = Field("inputs_and_target", description="Which columns of a corrupted row are hit.")

    def fits(self, task: Task) -> bool:
        return task == "regression"

    def noise(self, generator: np.random.Generator, clean: Array) -> Array:
        """Noise for each of the clean values, (N, F) or (N,)."""
        raise NotImplementedError

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        inputs = targets = None
        if self.on != "target":
            generator = numpy_stream(base_seed, seed, "corruption_inputs")
            inputs = dataset.train_inputs + self.noise(generator, dataset.train_inputs)
        if self.on != "inputs":
            generator = numpy_stream(base_seed, seed, "corruption_targets")
            targets = dataset.train_targets + self.noise(generator, dataset.train_targets)
        return Replacements(inputs, targets)


class Gaussian(AddedNoise):
    title = "Gaussian noise"
    formula = "x~ = x + N(0, sd) on every standardised input, y~ = y + N(0, sd)"
    source = "Harrison, On the robustness of activation functions"
    kind: Literal["gaussian"] = "gaussian"
    sd: Scale = Field(0.5, description="Standard deviation of the noise; standardised inputs have 1.")

    def noise(self, generator: np.random.Generator, clean: Array) -> Array:
        return generator.normal(0, self.sd, clean.shape)


class Outlier(AddedNoise):
    title = "Outliers"
    formula = "x~ = x + s * k * SD(column), s = -1 or 1 at random for each value; y~ likewise"
    source = "Huber 1964, Robust estimation of a location parameter; Tukey 1960, contaminated distributions (k = 3, 10)"
    kind: Literal["outlier"] = "outlier"
    k: Scale = Field(10.0, description="How far off, in standard deviations of the clean training rows.")

    def noise(self, generator: np.random.Generator, clean: Array) -> Array:
        signs = generator.choice((-1.0, 1.0), clean.shape)
        noise: Array = self.k * clean.std(axis=0) * signs
        return noise


class HeavyTail(AddedNoise):
    title = "Heavy-tailed noise"
    formula = "x~ = x + scale * t(df) on every standardised input, y~ likewise; of infinite variance up to df = 2"
    source = "Lange, Little & Taylor 1989, Robust statistical modeling using the t distribution"
    kind: Literal["heavy_tail"] = "heavy_tail"
    df: Annotated[float, Field(ge=1, le=100, description="Degrees of freedom; fewer have heavier tails.")] = 2.0
    scale: Scale = Field(0.5, description="Factor on the noise.")

    def noise(self, generator: np.random.Generator, clean: Array) -> Array:
        return self.scale * generator.standard_t(self.df, clean.shape)


class Missing(Corruption):
    title = "Missing values"
    formula = "a share of a row's inputs, at least one, chosen completely at random, becomes its column's training mean"
    source = "Rubin 1976, Inference and missing data (MCAR); Little & Rubin 2019 for mean imputation"
    kind: Literal["missing"] = "missing"
    share: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="Share of a corrupted row's inputs.")

    def fits(self, task: Task) -> bool:
        return task == "regression"

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        clean_NF = dataset.train_inputs
        draws_NF = numpy_stream(base_seed, seed, "corruption_inputs").random(clean_NF.shape)
        num_missing = max(1, round(self.share * clean_NF.shape[1]))
        order_NF = draws_NF.argsort(axis=1).argsort(axis=1)
        # The mean of the values that are left would depend on the rate; being missing at random, it estimates this one.
        return Replacements(inputs=np.where(order_NF < num_missing, clean_NF.mean(axis=0), clean_NF))
