import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from shared.catalog.datasets.shapeset import (
    CLASS_NAMES,
    NUM_VERTICES,
    SIZE,
    Scenes,
    Shapeset,
    draw_polygons,
    draw_scenes,
    fill_polygons,
    shapes,
)

Array = NDArray[np.float64]
MANY = 6000
SHARES = {"T": 1 / 6, "P": 1 / 6, "E": 1 / 6, "TP": 1 / 9, "PE": 1 / 9, "TE": 1 / 9, "TT": 1 / 18, "PP": 1 / 18,
          "EE": 1 / 18}  # fmt: skip


@cache
def scenes() -> Scenes:
    return draw_scenes(MANY, np.random.default_rng(0))


@cache
def polygons(num_vertices: int) -> Array:
    return draw_polygons(3000, num_vertices, np.random.default_rng(num_vertices))


def areas(corners: Array) -> Array:
    """The shoelace formula."""
    x, y = corners[..., 0], corners[..., 1]
    area: Array = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
    return area


every_type = pytest.mark.parametrize("num_vertices", NUM_VERTICES)


def test_classes_have_their_shares() -> None:
    _, classes = shapes(MANY, 0, 0, "train")
    counts = np.bincount(classes, minlength=9)
    assert stats.chisquare(counts, [SHARES[name] * MANY for name in CLASS_NAMES]).pvalue > 0.001
    assert abs(1 - counts.max() / MANY - 5 / 6) < 0.02, "the error of always answering the largest class"


def test_a_class_names_the_types_that_are_there_in_either_order() -> None:
    drawn = scenes()
    letters = np.array(["T", "P", "E"])
    for first, second, has_two, number in zip(*drawn.types, drawn.has_two, drawn.classes(), strict=True):
        there = [letters[first], *([letters[second]] if has_two else [])]
        assert sorted(CLASS_NAMES[number]) == sorted(there)


def test_the_second_object_covers_at_most_half_of_the_first() -> None:
    first, second = scenes().masks
    assert second.any(axis=(1, 2)).tolist() == scenes().has_two.tolist()
    covered = (first & second).sum(axis=(1, 2)) / first.sum(axis=(1, 2))
    assert covered.max() <= 0.5
    assert covered.max() > 0.45, "and no less than that"
    assert (covered[scenes().has_two] > 0).mean() > 0.2, "objects do overlap"


@every_type
def test_every_corner_stays_one_pixel_inside_and_every_place_is_reached(num_vertices: int) -> None:
    corners = polygons(num_vertices)
    assert corners.min() >= 1
    assert corners.max() <= SIZE - 1
    assert corners.min() < 1.1
    assert corners.max() > SIZE - 1.1


@every_type
def test_a_shape_is_a_regular_polygon_stretched_along_two_axes(num_vertices: int) -> None:
    """Its corners lie on an ellipse around their mean, whose axes are 0.2 to 0.8 of the picture's side."""
    corners = polygons(num_vertices)
    offsets = corners - corners.mean(axis=1, keepdims=True)
    # For a regular polygon of radius 1/2 the second moments of the corners are those of the axes over 8.
    moments = np.einsum("bvi,bvj->bij", offsets, offsets) / num_vertices
    axes = np.sqrt(8 * np.linalg.eigvalsh(moments))
    assert axes.min() >= 0.2 * SIZE - 1e-9
    assert axes.max() <= 0.8 * SIZE + 1e-9
    for draws, distribution in ((axes.min(axis=1), lambda u: 1 - (1 - u) ** 2), (axes.max(axis=1), lambda u: u**2)):
        assert stats.kstest((draws / SIZE - 0.2) / 0.6, distribution).pvalue > 0.001, "of two uniform draws"
    unit = areas(
        np.array([[[np.cos(a) / 2, np.sin(a) / 2] for a in 2 * np.pi * np.arange(num_vertices) / num_vertices]])
    )
    np.testing.assert_allclose(areas(corners), unit * axes.prod(axis=1))


@every_type
def test_shapes_lie_in_any_direction(num_vertices: int) -> None:
    base = polygons(num_vertices)[:, 1] - polygons(num_vertices)[:, 0]
    angles = np.arctan2(base[:, 1], base[:, 0])
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.001


def test_of_four_corners_opposite_sides_are_parallel() -> None:
    corners = polygons(4)
    np.testing.assert_allclose(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 3], atol=1e-9)


@every_type
def test_a_filled_polygon_is_the_pixels_whose_centres_are_on_the_inner_side_of_every_edge(num_vertices: int) -> None:
    corners = polygons(num_vertices)[:200]
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    start, edge = corners, np.roll(corners, -1, axis=1) - corners
    inner = np.sign(np.linalg.det(np.stack([edge[:, 0], edge[:, 1]], axis=1)))[:, None, None, None]
    sides = edge[..., 0, None, None] * (y - start[..., 1, None, None]) - edge[..., 1, None, None] * (
        x - start[..., 0, None, None]
    )
    expected = (sides * inner >= 0).all(axis=1)
    assert np.array_equal(fill_polygons(corners), expected)
    errors = fill_polygons(corners).sum(axis=(1, 2)) / areas(corners) - 1
    assert abs(errors.mean()) < 0.02


def test_a_square_on_the_grid_has_its_pixels_once() -> None:
    square = np.array([[[2.0, 3.0], [6.0, 3.0], [6.0, 8.0], [2.0, 8.0]]])
    (mask,) = fill_polygons(square)
    assert mask.sum() == 4 * 5
    assert mask[3:8, 2:6].all()


def test_greys_of_objects_and_background_keep_apart_and_are_swapped_half_the_time() -> None:
    background, *objects = scenes().greys
    is_swapped = background > 0.5
    assert abs(is_swapped.mean() - 0.5) < 4 * np.sqrt(0.25 / MANY)
    for values in objects:
        assert ((values > 0.5) != is_swapped).all()
    for values in (background, *objects):
        dark, light = values[values < 0.5], values[values > 0.5]
        assert stats.kstest(dark, stats.uniform(0, 0.45).cdf).pvalue > 0.001
        assert stats.kstest(light, stats.uniform(0.55, 0.45).cdf).pvalue > 0.001


def test_the_later_object_lies_on_top_without_soft_edges() -> None:
    drawn = scenes()
    images = drawn.images()
    for b in range(200):
        levels = np.rint(drawn.greys[:, b] * 255)
        first, second = drawn.masks[:, b]
        assert (images[b][second] == levels[2]).all()
        assert (images[b][first & ~second] == levels[1]).all()
        assert (images[b][~first & ~second] == levels[0]).all()


def test_every_object_can_be_seen() -> None:
    first, second = scenes().masks
    assert first.sum(axis=(1, 2)).min() > 3
    assert second[scenes().has_two].sum(axis=(1, 2)).min() > 3


# --- the data set


def load(train_size: int = 300, val_size: int = 200, *, base_seed: int = 0, seed: int = 0) -> tuple[Array, ...]:
    entry = Shapeset(train_size=train_size, val_size=val_size)
    dataset = entry.load(base_seed=base_seed, seed=seed, datasets_dir=Path("nowhere"))
    return dataset.train_inputs, dataset.train_targets, dataset.val_inputs, dataset.val_targets


def test_pixels_are_stored_as_bytes_and_become_minus_1_to_1() -> None:
    dataset = Shapeset(train_size=300, val_size=10).load(base_seed=0, seed=0, datasets_dir=Path("nowhere"))
    assert dataset.train_inputs.dtype == np.uint8
    assert dataset.train_inputs.nbytes + dataset.train_targets.nbytes == 300 * Shapeset().example_bytes
    assert dataset.transform is not None
    pixels = dataset.train_inputs * dataset.transform.scale + dataset.transform.offset
    assert -1 <= pixels.min() < -0.98
    assert 0.98 < pixels.max() <= 1


def test_data_is_fresh_for_each_seed() -> None:
    first, same, *others = load(), load(), load(seed=1), load(base_seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    for other in others:
        rows = {row.tobytes() for row in first[0]}
        assert not any(row.tobytes() in rows for row in other[0])


def test_a_larger_set_begins_with_the_smaller_one() -> None:
    small, large = load(300, 200), load(1700, 900)
    for a, b in zip(small, large, strict=True):
        assert np.array_equal(a, b[: len(a)])


def test_ten_thousand_pictures_take_less_than_five_seconds() -> None:
    started = time.process_time()
    shapes(10_000, 0, 0, "train")
    assert time.process_time() - started < 5
