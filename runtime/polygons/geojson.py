"""Polygons as a GeoJSON FeatureCollection, RFC 7946; cut in two where they cross the antimeridian.

A map without longitude and latitude has pixel coordinates. RFC 7946 has no word for that, and what reads it would take
them for longitude and latitude: the file then has the older GeoJSON's member `crs`, which GDAL and QGIS follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from kda_edge.ground.ground import Floats

from .antimeridian import parts
from .coordinate_text import texts_of
from .features import DECIMALS, LONLAT, Feature

PIXELS: Final = (
    'ENGCRS["pixel (column, row)",EDATUM["upper left corner of the raster"],CS[Cartesian,2],'
    'AXIS["column",east],AXIS["row",south],LENGTHUNIT["unknown",0]]'
)
_POINTS: Final = 2**14  # after which features are written


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
        for some in _batches(features):
            cut = [parts(feature.rings, DECIMALS) if self._lonlat else [feature.rings] for feature in some]
            texts = texts_of(
                [ring for polygons in cut for rings in polygons for ring in rings], DECIMALS if self._lonlat else 0
            )
            for feature, polygons in zip(some, cut, strict=True):
                self._file.write(self._separator + _text(feature, polygons, texts))
                self._separator = ",\n"

    def finish(self) -> None:
        """Complete the file and close it."""
        self._file.write("\n]}\n")
        self._file.close()

    def close(self) -> None:
        """Let go of the file, complete or not."""
        self._file.close()


def _batches(features: Iterable[Feature]) -> Iterator[list[Feature]]:
    """Yield features in groups of so many points, or one feature each."""
    some: list[Feature] = []
    points = 0
    for feature in features:
        some.append(feature)
        points += sum(map(len, feature.rings))
        if points >= _POINTS:
            yield some
            some, points = [], 0
    if some:
        yield some


def _text(feature: Feature, polygons: Sequence[list[Floats]], texts: Iterator[str]) -> str:
    """Return a feature whose rings, polygon by polygon, are the next of these texts."""
    written = ["[" + ",".join(next(texts) for _ in rings) + "]" for rings in polygons]
    kind, coordinates = "Polygon", written[0]
    if len(written) > 1:
        kind, coordinates = "MultiPolygon", "[" + ",".join(written) + "]"
    area = "null" if feature.area_m2 is None else repr(feature.area_m2)
    return (
        f'{{"type":"Feature","id":{feature.id},"geometry":{{"type":"{kind}","coordinates":{coordinates}}},'
        f'"properties":{{"id":{feature.id},"area_m2":{area},"area_px":{feature.area_px},'
        f'"mean_probability":{feature.mean_probability!r},"max_probability":{feature.max_probability!r},'
        f'"qa_share":{feature.qa_share!r}}}}}'
    )
