"""The ground sampling distance: how large a scene's pixels are, and whether the model knows such pixels."""

from __future__ import annotations

import math
from typing import Any, Final

from rasterio.crs import CRS
from rasterio.errors import CRSError

EARTH_RADIUS_M: Final = 6_371_008.8  # mean; a pixel's size needs no ellipsoid

# Pixels so many times finer or coarser than any trained on: up to SLACK they pass, since training itself magnifies by
# up to 1.5 unless told otherwise; up to REFUSED, twice that, they are noted; beyond, a pixel covers more than 16 times
# the ground, or less than a 16th, and the scene is refused. Both are choices, unmeasured.
SLACK: Final = 2.0
REFUSED: Final = 4.0


def ground_sampling_m(crs: CRS | None, transform: Any, height_px: int, width_px: int) -> float | None:
    """Return the side of a square as large as the pixel at the scene's centre, metres; None where nobody knows.

    Args:
        crs: of the scene, or None.
        transform: from (column, row) to the CRS, or None.
        height_px: of the scene.
        width_px: of the scene.
    """
    if crs is None or transform is None:
        return None
    side = math.sqrt(abs(transform.determinant))
    try:
        if crs.is_geographic:
            degrees = transform.d * width_px / 2 + transform.e * height_px / 2 + transform.f
            latitude = degrees * crs.units_factor[1]
            return float(side * crs.units_factor[1] * EARTH_RADIUS_M * math.sqrt(max(math.cos(latitude), 0.0)))
        return float(side * crs.linear_units_factor[1]) if crs.is_projected else None
    except CRSError:
        return None


def distance(found_m: float, trained_m: tuple[float, float]) -> float:
    """Return how many times finer or coarser pixels are than any that the model learned from, 1 within."""
    return max(trained_m[0] / found_m, found_m / trained_m[1], 1.0)


def nearest_m(found_m: float, trained_m: tuple[float, float]) -> float:
    """Return the ground sampling distance that the model learned from and that is nearest, metres."""
    return min(max(found_m, trained_m[0]), trained_m[1])


def gsd_note(found_m: float | None, trained_m: tuple[float, float] | None) -> str | None:
    """Return a sentence where the pixels are much finer or coarser than any trained on, or nobody knows.

    Nothing is said where the model does not tell what it learned from.
    """
    if trained_m is None:
        return None
    finest, coarsest = trained_m
    learned = f"the model learned from {finest:g} to {coarsest:g} m"
    if found_m is None:
        return f"nobody knows how many metres a pixel is, and {learned}: make sure that it is about that"
    if distance(found_m, trained_m) <= SLACK:
        return None
    return f"a pixel is {found_m:.3g} m and {learned}: trust the map less, or have the scene read at these: --resample"
