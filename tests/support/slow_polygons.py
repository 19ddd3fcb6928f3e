"""Which pixels' centres lie in polygons, found one by one in exact fractions; and polygons to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Ring = Sequence[tuple[float, float]]


def inside(polygons: Sequence[Sequence[Ring]], height_px: int, width_px: int) -> NDArray[np.bool_]:
    """Return where a pixel's centre lies in a polygon, (H, W); a hole is a ring inside it.

    A ray to the right of a centre crosses the rings of a polygon an odd number of times where it is inside.
    """
    found = np.zeros((height_px, width_px), np.bool_)
    for rings in polygons:
        edges = [edge for ring in rings for edge in _edges(ring)]
        for row in range(height_px):
            y = Fraction(2 * row + 1, 2)
            crossings = [
                x0 + (y - y0) * (x1 - x0) / (y1 - y0) for (x0, y0), (x1, y1) in edges if (y0 <= y) != (y1 <= y)
            ]
            for col in range(width_px):
                centre = Fraction(2 * col + 1, 2)
                found[row, col] |= sum(x > centre for x in crossings) % 2 == 1
    return found


def star(
    rng: np.random.Generator, centre_xy: tuple[float, float], radius_px: float, corners: int = 9
) -> list[tuple[float, float]]:
    """Return a polygon with corners at random distances from its centre."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = radius_px * rng.uniform(0.2, 1, corners)
    xs, ys = centre_xy[0] + reach * np.cos(angles), centre_xy[1] + reach * np.sin(angles)
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def _edges(ring: Ring) -> list[tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]]:
    points = [(Fraction(x), Fraction(y)) for x, y in ring]
    return list(zip(points, [*points[1:], points[0]], strict=True))
