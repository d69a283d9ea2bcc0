"""Noise on pixels, as strong as in MNIST-C; labels stay. Pixels are bytes from 0 to the data set's white."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shared.catalog.base import Task
from shared.catalog.corruptions.base import Corruption, Misfit, Replacements, in_parts
from shared.catalog.datasets.base import AnyArray, Dataset, DatasetEntry
from shared.seeds import numpy_stream

Bytes = NDArray[np.uint8]
Severity = Annotated[int, Field(ge=1, le=5, description="How strong the noise is.")]


class PixelNoise(Corruption):
    """Noise on every pixel of a corrupted image."""

    severity: Severity = 3

    def fits(self, task: Task) -> bool:
        return task == "classification"

    def misfit(self, dataset: DatasetEntry) -> Misfit | None:
        return None if len(dataset.input_shape) == 3 else Misfit("kind", f"'{dataset.kind}' has no images")

    def noisy(self, images: AnyArray, white: float, generator: np.random.Generator) -> AnyArray:
        """The same images, (N, height, width), with noise."""
        raise NotImplementedError

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        generator = numpy_stream(base_seed, seed, "corruption_inputs")
        dirty = np.empty_like(dataset.train_inputs)
        for part in in_parts(len(dirty)):
            dirty[part] = self.noisy(dataset.train_inputs[part], dataset.white, generator)
        return Replacements(inputs=dirty)


class ImageGaussian(PixelNoise):
    title = "Gaussian noise on pixels"
    formula = "x~ = min(max(0, x + N(0, sd)), 1) with white = 1; sd .08 .12 .18 .26 .38 at severity 1 to 5"
    source = "Mu & Gilmer 2019, MNIST-C; Hendrycks & Dietterich 2019, Benchmarking neural network robustness"
    kind: Literal["image_gaussian"] = "image_gaussian"

    def noisy(self, images: AnyArray, white: float, generator: np.random.Generator) -> AnyArray:
        sd = (0.08, 0.12, 0.18, 0.26, 0.38)[self.severity - 1]
        noise = generator.standard_normal(images.shape, dtype=np.float32)
        noisy: AnyArray = np.clip(np.rint(images + noise * np.float32(sd * white)), 0, white)
        return noisy


class ImageImpulse(PixelNoise):
    title = "Salt and pepper"
    formula = "each pixel becomes black or white with probability p / 2 each; p .03 .06 .09 .17 .27 at severity 1 to 5"
    source = "Mu & Gilmer 2019, MNIST-C; Hendrycks & Dietterich 2019, Benchmarking neural network robustness"
    kind: Literal["image_impulse"] = "image_impulse"

    def noisy(self, images: AnyArray, white: float, generator: np.random.Generator) -> AnyArray:
        p = (0.03, 0.06, 0.09, 0.17, 0.27)[self.severity - 1]
        draws = generator.random(images.shape, dtype=np.float32)
        return np.where(draws < p / 2, 0, np.where(draws < p, white, images))
