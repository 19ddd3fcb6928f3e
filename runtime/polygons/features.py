"""Features: polygons with their attributes, as GeoJSON and GeoPackage take them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from kda_edge.ground.ground import Floats

LONLAT: Final = "EPSG:4326"  # the coordinate system of features that have a place on Earth, longitude first
DECIMALS: Final = 9  # of a degree that are kept: 0.1 mm; pixels are whole


class Feature(NamedTuple):
    """One landslide.

    Attributes:
        id: row times width plus column of its first pixel in reading order, plus 1.
        area_m2: on the WGS84 ellipsoid, or in the CRS's own metres; None where nobody knows.
        area_px: pixels.
        mean_probability: over its pixels, 0..1, four decimals.
        max_probability: over its pixels, 0..1, four decimals.
        qa_share: share of its pixels with any qa bit, 0..1, four decimals.
        rings: rounded as above, closed, each (N, 2), the exterior first and counter-clockwise, holes clockwise;
            longitudes run on across the antimeridian.
    """

    id: int
    area_m2: float | None
    area_px: int
    mean_probability: float
    max_probability: float
    qa_share: float
    rings: list[Floats]


class FeatureFile(Protocol):
    """A file that features are added to, one after the other."""

    def write(self, features: Iterator[Feature]) -> None:
        """Append features."""
        ...

    def finish(self) -> None:
        """Complete the file."""
        ...

    def close(self) -> None:
        """Let go of the file, complete or not."""
        ...
