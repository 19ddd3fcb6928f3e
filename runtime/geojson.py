"""Polygons as a GeoJSON FeatureCollection, RFC 7946."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .features import Feature


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
        self._separator = "\n"

    def write(self, features: Iterable[Feature]) -> None:
        """Append features."""
        for feature in features:
            self._file.write(self._separator + json.dumps(_members(feature), separators=(",", ":")))
            self._separator = ",\n"

    def finish(self) -> None:
        """Complete the file and close it."""
        self._file.write("\n]}\n")
        self._file.close()

    def close(self) -> None:
        """Let go of the file, complete or not."""
        self._file.close()


def _members(feature: Feature) -> dict[str, object]:
    return {
        "type": "Feature",
        "id": feature.id,
        "geometry": {"type": "Polygon", "coordinates": [ring.tolist() for ring in feature.rings]},
        "properties": {
            "id": feature.id,
            "area_m2": feature.area_m2,
            "area_px": feature.area_px,
            "mean_probability": feature.mean_probability,
            "max_probability": feature.max_probability,
            "qa_share": feature.qa_share,
        },
    }
