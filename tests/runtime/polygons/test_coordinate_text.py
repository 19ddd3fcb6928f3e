"""Coordinates written many at once, against Python's formatting of one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from kda_edge.runtime.polygons import coordinate_text
from kda_edge.runtime.polygons.coordinate_text import texts_of


def one_by_one(rings: list[np.ndarray], decimals: int) -> list[str]:
    return ["[" + ",".join(f"[{x:.{decimals}f},{y:.{decimals}f}]" for x, y in ring.tolist()) + "]" for ring in rings]


@pytest.mark.parametrize("decimals", [9, 4, 1, 0])
@pytest.mark.parametrize("largest", [0.0001, 9.99, 180.0, 540.0, 100_000.0])
def test_the_text_is_that_of_numbers_formatted_one_by_one(decimals: int, largest: float) -> None:
    random = np.random.default_rng(decimals)
    rings = [
        np.round(random.uniform(-largest, largest, (length, 2)), decimals) + 0.0
        for length in (5, 1, 4, 7, 300, 5, coordinate_text.CHUNK + 3, 6)
    ]
    assert list(texts_of(rings, decimals)) == one_by_one(rings, decimals)


def test_borders_of_digits_and_signs_are_written_as_they_are() -> None:
    edge = [0.0, 1e-9, -1e-9, 0.1, 0.999999999, 1.0, -1.0, 9.999999999, 10.0, 99.5, 100.0, -179.999999999, 180.0, 359.5]
    ring = np.array([(x, y) for x in edge for y in edge])
    assert list(texts_of([ring, ring[:1]], 9)) == one_by_one([ring, ring[:1]], 9)
    whole = np.array([(x, y) for x in (0, 1, 9, 10, 99, 100, 2**31 - 1) for y in (0, 7, 10**9)], np.float64)
    assert list(texts_of([whole], 0)) == one_by_one([whole], 0)


def test_longitudes_turned_by_a_whole_turn_keep_their_digits() -> None:
    """What is cut at the antimeridian is moved by 360 degrees after it was rounded."""
    points = np.round(np.random.default_rng(1).uniform(180, 181, (10_000, 2)), 9)
    moved = points - np.array([360.0, 0.0])
    assert list(texts_of([moved], 9)) == one_by_one([moved], 9)


def test_no_rings_have_no_text() -> None:
    assert list(texts_of([], 9)) == []
