import numpy as np
import pytest
from numpy.typing import NDArray

from shared.catalog.corruptions import corrupt
from shared.catalog.corruptions.images import ImageGaussian, ImageImpulse
from shared.catalog.datasets import Dataset, ImageTransform
from shared.errors import InvalidSpecError
from tests.shared.specs import tiny

SD = (0.08, 0.12, 0.18, 0.26, 0.38)
P = (0.03, 0.06, 0.09, 0.17, 0.27)
severities = pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
# Pixels of MNIST, whatever they are scaled to for the network, and those of digits.
scales = pytest.mark.parametrize(("white", "scale"), [(255, 1.0), (255, 1 / 255), (16, 1 / 16)])


def grey(white: int, scale: float, *, level: float = 0.5) -> Dataset:
    """Six hundred images of one grey."""
    images = np.full((600, 20, 20), round(level * white), dtype=np.uint8)
    transform = ImageTransform(20, scale, white=white)
    return Dataset(images, np.zeros(600, dtype=np.int64), images, np.zeros(600, dtype=np.int64), 10, transform)


def noisy(corruption: ImageGaussian | ImageImpulse, dataset: Dataset) -> NDArray[np.float64]:
    """The pixels of the corrupted images, as shares of white."""
    rows = corrupt(dataset, corruption, 0.5, base_seed=0, seed=0)
    assert len(rows.rows) == 300
    assert rows.targets is dataset.train_targets
    return rows.inputs[rows.rows].astype(float) / dataset.white


@severities
@scales
def test_gaussian_noise_is_as_strong_as_in_mnist_c_on_either_scale(severity: int, white: int, scale: float) -> None:
    pixels = noisy(ImageGaussian(severity=severity), grey(white, scale))
    level, rounding = round(0.5 * white) / white, 1 / white / np.sqrt(12)
    draws = np.clip(level + np.random.default_rng(0).normal(0, SD[severity - 1], 200_000), 0, 1)
    assert abs(pixels.mean() - level) < 0.01
    assert abs(pixels.std() - np.hypot(draws.std(), rounding)) < 0.01
    assert pixels.min() >= 0
    assert pixels.max() <= 1


@severities
@scales
def test_as_many_pixels_become_salt_and_pepper_as_in_mnist_c(severity: int, white: int, scale: float) -> None:
    pixels = noisy(ImageImpulse(severity=severity), grey(white, scale))
    level = round(0.5 * white) / white
    shares = [(pixels == value).mean() for value in (0.0, level, 1.0)]
    p = P[severity - 1]
    assert np.abs(np.array(shares) - [p / 2, 1 - p, p / 2]).max() < 0.005


@pytest.mark.parametrize("corruption", [ImageGaussian(severity=5), ImageImpulse(severity=5)], ids=str)
def test_every_image_gets_noise_of_its_own(corruption: ImageGaussian | ImageImpulse) -> None:
    pixels = noisy(corruption, grey(255, 1.0))
    assert len({image.tobytes() for image in pixels}) == len(pixels)


@pytest.mark.parametrize("severity", [0, 6, 1.5, "3"])
def test_severities_are_1_to_5(severity: object) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        tiny({"dataset": {"kind": "digits"}, "corruption": {"kind": "image_impulse", "severity": severity}})
    assert [problem.pointer for problem in caught.value.problems] == ["/corruption/severity"]
