"""How large a scene's pixels are on the ground, and whether the model knows such pixels."""

from __future__ import annotations

import math
from typing import Any, Final

from rasterio.crs import CRS
from rasterio.errors import CRSError

EARTH_RADIUS_M: Final = 6_371_008.8  # mean; a pixel's size needs no ellipsoid
SLACK: Final = 2.0  # pixels up to this many times finer or coarser pass without a note; unmeasured


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


def gsd_note(found_m: float | None, trained_m: tuple[float, float] | None) -> str | None:
    """Return a sentence where the pixels are much finer or coarser than any that the model learned from."""
    if found_m is None or trained_m is None:
        return None
    finest, coarsest = trained_m
    if finest / SLACK <= found_m <= coarsest * SLACK:
        return None
    return (
        f"a pixel is {found_m:.3g} m and the model learned from {finest:g} to {coarsest:g} m: "
        "trust the map less, or resample the scene"
    )
