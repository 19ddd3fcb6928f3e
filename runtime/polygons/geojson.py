"""Polygons as a GeoJSON FeatureCollection, RFC 7946; cut in two where they cross the antimeridian.

A map without longitude and latitude has pixel coordinates. RFC 7946 has no word for that, and what reads it would take
them for longitude and latitude: the file then has the older GeoJSON's member `crs`, which GDAL and QGIS follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ..geo.ground import Floats
from .antimeridian import parts
from .features import DECIMALS, LONLAT, Feature

PIXELS: Final = (
    'ENGCRS["pixel (column, row)",EDATUM["upper left corner of the raster"],CS[Cartesian,2],'
    'AXIS["column",east],AXIS["row",south],LENGTHUNIT["unknown",0]]'
)
_POINTS: Final = 2**14  # written in one go: Python's numbers take 32 bytes each


class GeoJson:
    """A file that features are appended to; complete once it is finished. Raises OSError where it can't be written."""

    def __init__(self, path: Path, coordinate_system: str, facts: Mapping[str, object]) -> None:
        """Create the file.

        Args:
            path: replaced if it exists.
            coordinate_system: what the coordinates are, a member of the collection.
            facts: further members.
        """
        self._file = path.open("w", encoding="utf-8")
        self._lonlat = coordinate_system == LONLAT
        crs = {} if self._lonlat else {"crs": {"type": "name", "properties": {"name": PIXELS}}}
        head = {"type": "FeatureCollection", **crs, "coordinate_system": coordinate_system, **facts}
        self._file.write(json.dumps(head)[:-1] + ', "features": [')
        self._separator = "\n"

    def write(self, features: Iterable[Feature]) -> None:
        """Append features."""
        for feature in features:
            self._file.write(self._separator + _text(feature, lonlat=self._lonlat))
            self._separator = ",\n"

    def finish(self) -> None:
        """Complete the file and close it."""
        self._file.write("\n]}\n")
        self._file.close()

    def close(self) -> None:
        """Let go of the file, complete or not."""
        self._file.close()


def _text(feature: Feature, *, lonlat: bool) -> str:
    decimals = DECIMALS if lonlat else 0
    polygons = [
        "[" + ",".join(_ring(ring, decimals) for ring in rings) + "]"
        for rings in (parts(feature.rings, DECIMALS) if lonlat else [feature.rings])
    ]
    kind, coordinates = "Polygon", polygons[0]
    if len(polygons) > 1:
        kind, coordinates = "MultiPolygon", "[" + ",".join(polygons) + "]"
    area = "null" if feature.area_m2 is None else repr(feature.area_m2)
    return (
        f'{{"type":"Feature","id":{feature.id},"geometry":{{"type":"{kind}","coordinates":{coordinates}}},'
        f'"properties":{{"id":{feature.id},"area_m2":{area},"area_px":{feature.area_px},'
        f'"mean_probability":{feature.mean_probability!r},"max_probability":{feature.max_probability!r},'
        f'"qa_share":{feature.qa_share!r}}}}}'
    )


def _ring(ring: Floats, decimals: int) -> str:
    """Return a ring's points; one format for many of them is twice as fast as the json module."""
    point = f"[%.{decimals}f,%.{decimals}f]"
    parts = (ring[first : first + _POINTS] for first in range(0, len(ring), _POINTS))
    return "[" + ",".join(",".join([point] * len(part)) % tuple(part.ravel().tolist()) for part in parts) + "]"
