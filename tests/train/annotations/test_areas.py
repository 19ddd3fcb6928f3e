"""A mask is 1 exactly where a pixel's centre lies in a polygon."""

from __future__ import annotations

import numpy as np
import pytest
from slow_polygons import inside, star

from kda_edge.errors import DataError, UsageError
from kda_edge.train.annotations.areas import Area, chosen_labels, mask_of


@pytest.mark.parametrize("seed", range(8))
def test_polygons_that_overlap_or_leave_the_image_are_filled_as_one_pixel_at_a_time_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [[star(rng, tuple(rng.uniform(-5, 45, 2)), 25)] for _ in range(4)]
    areas = [Area("x", tuple(map(tuple, rings))) for rings in polygons]
    np.testing.assert_array_equal(mask_of(areas, 37, 41), inside(polygons, 37, 41))


def test_holes_stay_empty_and_an_island_in_a_hole_is_filled() -> None:
    def box(low: float, high: float) -> tuple[tuple[float, float], ...]:
        return (low, low), (high, low), (high, high), (low, high)

    rings = (box(2.2, 28.3), box(8.1, 22.7))
    areas = [Area("x", rings), Area("x", (box(12.4, 15.6),))]
    expected = inside([rings, (box(12.4, 15.6),)], 30, 30)
    np.testing.assert_array_equal(mask_of(areas, 30, 30), expected)
    assert expected[5, 5] and not expected[10, 10] and expected[14, 14]  # noqa: PT018


@pytest.mark.parametrize("rows", [1, 7, 37])
def test_strips_are_the_whole_mask(rows: int) -> None:
    rng = np.random.default_rng(5)
    areas = [Area("x", (tuple(star(rng, (20, 18), 22)),))]
    strips = [mask_of(areas, min(rows, 37 - row), 41, first_row=row) for row in range(0, 37, rows)]
    np.testing.assert_array_equal(np.concatenate(strips), mask_of(areas, 37, 41))


@pytest.mark.parametrize("ring", [((0.0, 0.0), (1.0, 1.0)), ((0.0, 0.0), (1.0, 1.0), (0.0, 0.0)), ()])
def test_a_polygon_without_an_area_is_refused(ring: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(DataError, match="fewer than 3 points"):
        Area("slide", (ring,))
    with pytest.raises(DataError, match="a point that is no number"):
        Area("slide", (((0.0, 0.0), (1.0, float("nan")), (2.0, 0.0)),))


def test_labels_are_chosen_by_name_or_where_there_is_but_one() -> None:
    assert chosen_labels(["a", "a"], (), "f") == {"a"}
    assert chosen_labels(["a", "b", "c"], ("a", "c"), "f") == {"a", "c"}
    with pytest.raises(UsageError, match=r"f has several labels, 'a' \(2\), 'b' \(1\); say with --landslide"):
        chosen_labels(["a", "b", "a"], (), "f")
    with pytest.raises(DataError, match="no polygon labelled 'd'"):
        chosen_labels(["a"], ("d",), "f")
    with pytest.raises(DataError, match="no polygon, so there is nothing"):
        chosen_labels([], (), "f")
