"""Polygons as a GeoJSON FeatureCollection, RFC 7946."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ..geo.ground import Floats
from .features import DECIMALS, LONLAT, Feature

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
        head = {"type": "FeatureCollection", "coordinate_system": coordinate_system, **facts}
        self._file.write(json.dumps(head)[:-1] + ', "features": [')
        self._separator, self._decimals = "\n", DECIMALS if coordinate_system == LONLAT else 0

    def write(self, features: Iterable[Feature]) -> None:
        """Append features."""
        for feature in features:
            self._file.write(self._separator + _text(feature, self._decimals))
            self._separator = ",\n"

    def finish(self) -> None:
        """Complete the file and close it."""
        self._file.write("\n]}\n")
        self._file.close()

    def close(self) -> None:
        """Let go of the file, complete or not."""
        self._file.close()


def _text(feature: Feature, decimals: int) -> str:
    rings = ",".join(_ring(ring, decimals) for ring in feature.rings)
    area = "null" if feature.area_m2 is None else repr(feature.area_m2)
    return (
        f'{{"type":"Feature","id":{feature.id},"geometry":{{"type":"Polygon","coordinates":[{rings}]}},'
        f'"properties":{{"id":{feature.id},"area_m2":{area},"area_px":{feature.area_px},'
        f'"mean_probability":{feature.mean_probability!r},"max_probability":{feature.max_probability!r},'
        f'"qa_share":{feature.qa_share!r}}}}}'
    )


def _ring(ring: Floats, decimals: int) -> str:
    """Return a ring's points; one format for many of them is twice as fast as the json module."""
    point = f"[%.{decimals}f,%.{decimals}f]"
    parts = (ring[first : first + _POINTS] for first in range(0, len(ring), _POINTS))
    return "[" + ",".join(",".join([point] * len(part)) % tuple(part.ravel().tolist()) for part in parts) + "]"
