"""The ground sampling distance: how large a scene's pixels are, and whether the model knows such pixels."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from rasterio.crs import CRS

from kda_edge.errors import SceneError
from kda_edge.ground.ground import Floats, Frame, ground_at_centre, metres_per_unit

# A projected CRS's own metres count where they are true to this share, so that 0.5 m in UTM, whose scale is 0.9996 to
# 1.001, are 0.5 m. A choice: what matters here are factors of 2 and 4.
TRUE_SHARE: Final = 0.01

# Pixels so many times finer or coarser than any trained on: up to SLACK they pass, since training itself magnifies by
# up to 1.5 unless told otherwise; up to REFUSED, twice that, they are noted; beyond, a pixel covers more than 16 times
# the ground, or less than a 16th, and the scene is refused. Both are choices, unmeasured.
SLACK: Final = 2.0
REFUSED: Final = 4.0
NOT_SQUARE: Final = 1.5  # times as long one way on the ground as the other: noted. A choice, unmeasured.


def ground_sampling_m(crs: CRS | None, transform: Any, height_px: int, width_px: int) -> float | None:
    """Return the side of a square as large as the pixel at the scene's centre, metres; None where nobody knows.

    Metres are those on the WGS84 ellipsoid, or the CRS's own where these are true, or are all that is known.

    Args:
        crs: of the scene, or None.
        transform: from (column, row) to the CRS, or None.
        height_px: of the scene.
        width_px: of the scene.
    """
    steps, metres = _steps(crs, transform, height_px, width_px)
    if steps is None:
        return None
    return math.sqrt(abs(float(steps[0, 0] * steps[1, 1] - steps[0, 1] * steps[1, 0]))) * metres


def pixel_sides_m(crs: CRS | None, transform: Any, height_px: int, width_px: int) -> tuple[float, float] | None:
    """Return how far the pixel at the scene's centre reaches the longest and the shortest way, metres on the ground.

    Args:
        crs: as in `ground_sampling_m`.
        transform: likewise.
        height_px: likewise.
        width_px: likewise.
    """
    steps, metres = _steps(crs, transform, height_px, width_px)
    if steps is None:
        return None
    longest, shortest = np.linalg.svd(steps, compute_uv=False).tolist()
    return longest * metres, shortest * metres


def distance(found_m: float, trained_m: tuple[float, float]) -> float:
    """Return how many times finer or coarser pixels are than any that the model learned from, 1 within."""
    return max(trained_m[0] / found_m, found_m / trained_m[1], 1.0)


def nearest_m(found_m: float, trained_m: tuple[float, float]) -> float:
    """Return the ground sampling distance that the model learned from and that is nearest, metres."""
    return min(max(found_m, trained_m[0]), trained_m[1])


def gsd_note(found_m: float | None, trained_m: tuple[float, float] | None, *, remedy: str = "--resample") -> str | None:
    """Return a sentence where the pixels are much finer or coarser than any trained on, or nobody knows.

    Nothing is said where the model does not tell what it learned from.

    Args:
        found_m: side of a pixel on the ground, metres; None where nobody knows.
        trained_m: the least and the most that the model learned from, metres.
        remedy: options with which the scene is read at these.
    """
    if trained_m is None:
        return None
    finest, coarsest = trained_m
    learned = f"the model learned from {finest:g} to {coarsest:g} m"
    if found_m is None:
        return f"nobody knows how many metres a pixel is, and {learned}: make sure that it is about that"
    if distance(found_m, trained_m) <= SLACK:
        return None
    return f"a pixel is {found_m:.3g} m and {learned}: trust the map less, or have the scene read at these: {remedy}"


def shape_note(sides_m: tuple[float, float] | None) -> str | None:
    """Return a sentence where pixels are far from square on the ground, as those of geographic scenes are up north."""
    if sides_m is None or sides_m[0] <= NOT_SQUARE * sides_m[1]:
        return None
    return (
        f"a pixel is {sides_m[0]:.3g} m by {sides_m[1]:.3g} m on the ground, and the model learned from square ones: "
        "trust the map less, or warp the scene to a projected CRS first, with gdalwarp -t_srs"
    )


def _steps(crs: CRS | None, transform: Any, height_px: int, width_px: int) -> tuple[Floats | None, float]:
    """Return one step along a row and one along a column, (2, 2), at the scene's centre, and the metres of its unit."""
    if crs is None or transform is None:
        return None, 1.0
    ground, metres = ground_at_centre(Frame(height_px, width_px, crs, transform)), metres_per_unit(crs)
    own = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    known = None if metres is None else own, metres or 1.0
    if ground is None:
        return known
    try:
        true = ground.step_m((width_px / 2, height_px / 2))
    except SceneError:
        return known
    if metres is not None:
        scales = np.linalg.svd(true @ np.linalg.inv(own * metres), compute_uv=False)
        if np.abs(scales - 1.0).max() <= TRUE_SHARE:
            return known
    return true, 1.0
