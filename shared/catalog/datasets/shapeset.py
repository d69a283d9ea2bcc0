"""Shapeset-3x2: pictures of one or two shapes, made as they are asked for; no two are alike.

Shape letters: B objects, V vertices, H W pixels. Coordinates are in pixels, whose centres are at (i + 1/2, j + 1/2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from shared.catalog.datasets.base import TRAIN_SIZE, VAL_SIZE, Dataset, DatasetEntry, ImageTransform
from shared.catalog.layers import Shape
from shared.seeds import numpy_stream

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

SIZE = 32
WHITE = 255
SMALLEST_AXIS, LARGEST_AXIS = 0.2 * SIZE, 0.8 * SIZE
CLEARANCE = 1.0
MOST_COVERED = 0.5
# An ellipse is drawn as the regular polygon of twenty corners, stretched.
NUM_VERTICES = (3, 4, 20)
TRIANGLE, PARALLELOGRAM, ELLIPSE = range(3)
CLASS_NAMES = ("T", "P", "E", "TP", "PE", "TE", "TT", "PP", "EE")
# The class of two objects by their types, in either order.
CLASS_OF_PAIR = np.array([[6, 3, 5], [3, 7, 4], [5, 4, 8]])
# Images are drawn in chunks, each from a stream of its own: the first images of a larger set are those of a smaller.
CHUNK = 500


class Shapeset(DatasetEntry):
    title = "Shapeset-3x2"
    formula = (
        "32 x 32 grey pictures of one or two objects out of triangle, parallelogram and ellipse; nine classes T, P, E, "
        "TP, PE, TE, TT, PP, EE with shares 1/6 each, 1/9 each, 1/18 each; pixels of -1 to 1"
    )
    source = "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks"
    task = "classification"
    fresh_for_each_seed = True
    defaults = {
        "architecture": {"kind": "mlp", "hidden": [128, 64], "batch_norm": True},
        "corruption": {"kind": "symmetric", "rates": [0.1], "exclusive": True},
        "training": {"epochs": 20, "batch_size": 64, "loss": "cross_entropy"},
    }
    kind: Literal["shapeset"] = "shapeset"
    train_size: Annotated[int, Field(ge=10, le=1_000_000, description=TRAIN_SIZE)] = 10_000
    val_size: Annotated[int, Field(ge=10, le=1_000_000, description=VAL_SIZE)] = 5000

    @property
    def input_shape(self) -> Shape:
        return (1, SIZE, SIZE)

    @property
    def num_classes(self) -> int:
        return len(CLASS_NAMES)

    @property
    def example_bytes(self) -> int:
        return SIZE**2 + 8

    def load(self, *, base_seed: int, seed: int, datasets_dir: Path) -> Dataset:  # noqa: ARG002 (nothing on disk)
        train = shapes(self.train_size, base_seed, seed, "train")
        val = shapes(self.val_size, base_seed, seed, "val")
        transform = ImageTransform(SIZE, scale=2 / WHITE, offset=-1.0, white=WHITE)
        return Dataset(*train, *val, num_classes=self.num_classes, transform=transform)


def shapes(num_images: int, base_seed: int, seed: int, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first `num_images` pictures (N, 32, 32) of a part of a seed's data, and their classes (N,)."""
    chunks = list(_chunks(num_images, base_seed, seed, part))
    images, classes = (np.concatenate([chunk[side] for chunk in chunks]) for side in (0, 1))
    return images[:num_images], classes[:num_images]


def _chunks(
    num_images: int, base_seed: int, seed: int, part: str
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    for index in range(-(-num_images // CHUNK)):
        scenes = draw_scenes(CHUNK, numpy_stream(base_seed, seed, "shapeset", part, index))
        yield scenes.images(), scenes.classes()


@dataclass(frozen=True)
class Scenes:
    """B pictures before they are painted: the later object lies on top.

    `masks` (2, B, H, W) are the pixels of the first and second object, those of the second empty where there is one
    object; `types` (2, B); `greys` (3, B) of background, first and second object.
    """

    masks: Bools
    types: NDArray[np.int64]
    has_two: Bools
    greys: Array

    def classes(self) -> NDArray[np.int64]:
        """The class of each picture, (B,)."""
        pairs = CLASS_OF_PAIR[self.types[0], self.types[1]]
        classes: NDArray[np.int64] = np.where(self.has_two, pairs, self.types[0])
        return classes

    def images(self) -> NDArray[np.uint8]:
        """Pictures (B, H, W) in bytes of 0 to 255, without anti-aliasing."""
        background, first, second = self.greys[:, :, None, None]
        painted = np.where(self.masks[1], second, np.where(self.masks[0], first, background))
        images: NDArray[np.uint8] = np.rint(painted * WHITE).astype(np.uint8)
        return images


def draw_scenes(num_scenes: int, generator: np.random.Generator) -> Scenes:
    """Draw scenes; a second object that covers more than half of the first is drawn again."""
    types = generator.integers(0, len(NUM_VERTICES), (2, num_scenes))
    has_two = generator.random(num_scenes) < 0.5
    masks = np.zeros((2, num_scenes, SIZE, SIZE), dtype=np.bool_)
    masks[0] = draw_objects(types[0], generator)
    to_draw = np.flatnonzero(has_two)
    while len(to_draw) > 0:
        masks[1, to_draw] = draw_objects(types[1, to_draw], generator)
        covered = (masks[0, to_draw] & masks[1, to_draw]).sum(axis=(1, 2))
        to_draw = to_draw[covered > MOST_COVERED * masks[0, to_draw].sum(axis=(1, 2))]
    return Scenes(masks, types, has_two, _greys(num_scenes, generator))


def _greys(num_scenes: int, generator: np.random.Generator) -> Array:
    """Dark background and light objects, or the other way round; (3, B) in [0, 1]."""
    dark, light = generator.uniform(0, 0.45, (3, num_scenes)), generator.uniform(0.55, 1, (3, num_scenes))
    is_swapped = generator.random(num_scenes) < 0.5
    is_dark = np.array([[True], [False], [False]]) != is_swapped
    return np.where(is_dark, dark, light)


def draw_objects(types: NDArray[np.int64], generator: np.random.Generator) -> Bools:
    """The pixels of one object for each of the types, (B, H, W)."""
    masks = np.empty((len(types), SIZE, SIZE), dtype=np.bool_)
    for kind, num_vertices in enumerate(NUM_VERTICES):
        chosen = np.flatnonzero(types == kind)
        masks[chosen] = fill_polygons(draw_polygons(len(chosen), num_vertices, generator))
    return masks


def draw_polygons(num_polygons: int, num_vertices: int, generator: np.random.Generator) -> Array:
    """Corners (B, V, 2) as x, y of stretched regular polygons, in the order in which they are met going round."""
    half_edge = np.pi / num_vertices
    turned_B1 = generator.uniform(-half_edge, half_edge, (num_polygons, 1))
    # Before it is turned, the edge from the first corner to the second lies at the bottom, horizontal.
    angles_BV = -np.pi / 2 - half_edge + 2 * half_edge * np.arange(num_vertices) + turned_B1
    corners_BV2 = 0.5 * np.stack([np.cos(angles_BV), np.sin(angles_BV)], axis=2)
    axes_B2 = np.sort(generator.uniform(SMALLEST_AXIS, LARGEST_AXIS, (num_polygons, 2)), axis=1)[:, ::-1]
    corners_BV2 = corners_BV2 * axes_B2[:, None, :]
    base_B2 = corners_BV2[:, 1] - corners_BV2[:, 0]
    to_horizontal_B = -np.arctan2(base_B2[:, 1], base_B2[:, 0])
    corners_BV2 = _rotate(corners_BV2, to_horizontal_B + generator.uniform(0, 2 * np.pi, num_polygons))
    lowest, highest = CLEARANCE - corners_BV2.min(axis=1), SIZE - CLEARANCE - corners_BV2.max(axis=1)
    centres_B2 = generator.uniform(lowest, highest)
    placed: Array = corners_BV2 + centres_B2[:, None, :]
    return placed


def _rotate(corners_BV2: Array, angles_B: Array) -> Array:
    cosine_B1, sine_B1 = np.cos(angles_B)[:, None], np.sin(angles_B)[:, None]
    x_BV, y_BV = corners_BV2[..., 0], corners_BV2[..., 1]
    return np.stack([cosine_B1 * x_BV - sine_B1 * y_BV, sine_B1 * x_BV + cosine_B1 * y_BV], axis=2)


def fill_polygons(corners_BV2: Array) -> Bools:
    """The pixels (B, H, W) whose centres lie within convex polygons."""
    centres = np.arange(SIZE) + 0.5
    start_BV2, end_BV2 = corners_BV2, np.roll(corners_BV2, -1, axis=1)
    x0, y0 = start_BV2[..., None, 0], start_BV2[..., None, 1]
    x1, y1 = end_BV2[..., None, 0], end_BV2[..., None, 1]
    # A row of pixels meets two edges of a convex polygon: what lies between them is inside.
    is_met_BVH = (y0 <= centres) != (y1 <= centres)
    x_BVH = x0 + (centres - y0) * (x1 - x0) / np.where(y1 == y0, 1.0, y1 - y0)
    left_BH = np.where(is_met_BVH, x_BVH, np.inf).min(axis=1)
    right_BH = np.where(is_met_BVH, x_BVH, -np.inf).max(axis=1)
    inside: Bools = (centres >= left_BH[:, :, None]) & (centres <= right_BH[:, :, None])
    return inside
