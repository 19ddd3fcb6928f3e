"""Labelled polygons in pixels of an image, and the mask that they are rasterised to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize
from rasterio.transform import Affine

from kda_edge.errors import DataError, UsageError
from kda_edge.rasters.silence import silenced

Ring = tuple[tuple[float, float], ...]

LEAST_POINTS: Final = 3  # of a ring


@dataclass(frozen=True)
class Area:
    """One labelled polygon.

    Attributes:
        label: its class, as the file names it.
        rings: outer ring, then holes; each a closed or open line of points x, y from the upper left corner of the
            image, px: the centre of the first pixel lies at 0.5, 0.5.
    """

    label: str
    rings: tuple[Ring, ...]

    def __post_init__(self) -> None:
        for ring in self.rings:
            if len(set(ring)) < LEAST_POINTS:
                raise DataError(f"a polygon labelled {self.label!r} has fewer than 3 points; draw it anew")
            if not all(math.isfinite(value) for point in ring for value in point):
                raise DataError(f"a polygon labelled {self.label!r} has a point that is no number; draw it anew")

    @property
    def top_bottom(self) -> tuple[float, float]:
        """Least and largest y of its outer ring."""
        heights = [y for _, y in self.rings[0]]
        return min(heights), max(heights)


@dataclass(frozen=True)
class LabelledImage:
    """An image with its polygons.

    Attributes:
        name: of its file, as the annotations name it.
        width_px: columns, as the annotations have it.
        height_px: rows.
        areas: polygons; none: all of it is background.
    """

    name: str
    width_px: int
    height_px: int
    areas: tuple[Area, ...]


def mask_of(areas: Sequence[Area], height_px: int, width_px: int, *, first_row: int = 0) -> NDArray[np.uint8]:
    """Return the mask of a strip of an image, (H, W): 1 where a pixel's centre lies in a polygon, else 0.

    Args:
        areas: in pixels of the whole image; several may overlap.
        height_px: rows of the strip.
        width_px: columns of the image.
        first_row: of the strip.
    """
    mask = np.zeros((height_px, width_px), np.uint8)
    near = [one for one in areas if one.top_bottom[1] > first_row and one.top_bottom[0] < first_row + height_px]
    if near:
        shapes = [({"type": "Polygon", "coordinates": [_closed(ring) for ring in one.rings]}, 1) for one in near]
        with silenced(NotGeoreferencedWarning):
            rasterize(shapes, out=mask, transform=Affine.translation(0, first_row))
    return mask


def chosen_labels(labels: Iterable[str], named: Collection[str], where: str) -> set[str]:
    """Return the labels that mean landslide: those that are named, or the only one that there is.

    Args:
        labels: of all polygons.
        named: by the user; empty: none.
        where: what holds the polygons, for messages.

    Raises:
        DataError: no polygons, or none with a label that is named.
        UsageError: several labels, and nobody says which mean landslide.
    """
    counts = Counter(labels)
    listed = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common())
    if not counts:
        raise DataError(f"{where} holds no polygon, so there is nothing to rasterise")
    missing = [label for label in named if label not in counts]
    if missing:
        raise DataError(f"{where} has no polygon labelled {missing[0]!r}; it has {listed}")
    if not named and len(counts) > 1:
        raise UsageError(f"{where} has several labels, {listed}; say with --landslide which mean landslide")
    return set(named) or set(counts)


def _closed(ring: Ring) -> list[tuple[float, float]]:
    return [*ring, ring[0]]
