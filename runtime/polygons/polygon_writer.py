"""Landslide polygons, written while the rows of a map come in: GeoJSON or GeoPackage, outlines on pixel corners.

A polygon is a group of landslide pixels (class 1) that share an edge, holes cut out; pixels that touch at a corner only
are separate polygons. It is written as soon as no further row can add to it, so memory follows the outlines of those
that still may grow, not the scene. The file depends on the rows alone, not on how they are cut: polygons come in the
order of their last rows, and of their first pixels where these are equal.

Each says `id` (row times width plus column of its first pixel in reading order, plus 1: the same whatever the least
area), `area_m2` (on the WGS84 ellipsoid), `area_px`, `mean_probability`, `max_probability` and `qa_share` (share of its
pixels with any qa bit). Coordinates are longitude and latitude; across the antimeridian a GeoPackage's run on past 180
or -180 degrees, and GeoJSON's polygons are cut.

Where the scene has no CRS or no transform, a CRS without a way to longitude and latitude (a site's grid, another
celestial body), or surrounds a pole, coordinates are pixels (column, row) from the raster's upper left corner, and the
file says why. `area_m2` is then that of the CRS's own metres, around a pole that on the ellipsoid, or null.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt

from kda_edge.errors import OutputError, UsageError
from kda_edge.ground.ground import Floats, Ground, NoGround, Placed, locate

from ..geo.gdal import GDAL_ERRORS, one_line
from .connected_components import Components, ComponentStream
from .features import DECIMALS, LONLAT, Feature, FeatureFile
from .geojson import GeoJson
from .geopackage import FAILURES, GeoPackage
from .ground_outlines import drawn, wound
from .pixel_outlines import Rings, rings_of

EDGE_PX: Final = 64  # longest straight edge written: at 30 m a pixel it strays less than 0.01 px from the raster's
PROBABILITY_SCALE: Final = 254.0  # of the map's second band: 0..254 stands for 0..1
FORMATS: Final[dict[str, Callable[[Path, str, Mapping[str, object]], FeatureFile]]] = {
    ".geojson": GeoJson,
    ".gpkg": GeoPackage,
}


@dataclass(frozen=True)
class PolygonSummary:
    """What was written.

    Attributes:
        count: polygons.
        area_m2: their ground area on the WGS84 ellipsoid, or in the CRS's own metres; None where nobody knows.
        area_px: their pixels.
    """

    count: int
    area_m2: float | None
    area_px: int


class PolygonWriter:
    """Writes the landslides of a map whose rows it is given from top to bottom; a context manager."""

    def __init__(
        self, path: Path, placed: Placed, *, facts: Mapping[str, object] | None = None, min_area: float = 0.0
    ) -> None:
        """Create the file.

        Args:
            path: ends in .geojson or .gpkg, replaced if it exists; what is there before `finish` is worthless.
            placed: the map's size and place.
            facts: of the map, for the file's head: its model and its threshold.
            min_area: polygons below it are left out; m2, or pixels where there is no `area_m2`.

        Raises:
            UsageError: another ending, or `min_area` is below 0 or not a number.
            OutputError: the file can't be created.
        """
        if not min_area >= 0:
            raise UsageError(f"the least area must be 0 or more, not {min_area}")
        if path.suffix not in FORMATS:
            raise UsageError(f"polygons are written to .geojson or .gpkg, not {path.suffix or path.name}")
        self._located = located = locate(placed)
        self._path, self._min_area = path, min_area
        self._height_px, self._rows = placed.height_px, 0
        self._stream = ComponentStream(placed.width_px)
        self._count, self._area_m2, self._area_px = 0, 0.0, 0
        system = LONLAT if isinstance(located, Ground) else f"pixel (column, row): {located.reason}"
        with _as_output_error(path):
            self._file: FeatureFile = FORMATS[path.suffix](path, system, facts or {})

    def __enter__(self) -> PolygonWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(*FAILURES):  # finished it is closed, and an unfinished file is thrown away by its owner
            self._file.close()

    def add(self, layers: npt.NDArray[np.uint8]) -> None:
        """Take the next rows and write the polygons that end above the last of them.

        Args:
            layers: class, probability and qa, (3, h, width).

        Raises:
            SceneError: a polygon has no place on Earth.
            OutputError: the file can't be written.
        """
        for components in self._stream.add(layers):
            self._write(components)
        self._rows += layers.shape[1]

    def finish(self) -> PolygonSummary:
        """Write the polygons that reach the last row and complete the file.

        Raises:
            SceneError: a polygon has no place on Earth.
            OutputError: the file can't be written.
        """
        assert self._rows == self._height_px
        self._write(self._stream.finish())
        with _as_output_error(self._path):
            self._file.finish()
        return PolygonSummary(self._count, self._area_m2 if _has_area(self._located) else None, self._area_px)

    def _write(self, components: Components) -> None:
        for batch in components.batches():
            with _as_output_error(self._path):
                self._file.write(self._counted(_features(batch, self._located)))

    def _counted(self, features: Iterator[Feature]) -> Iterator[Feature]:
        for feature in features:
            if (feature.area_px if feature.area_m2 is None else feature.area_m2) < self._min_area:
                continue
            yield feature
            self._count += 1
            self._area_px += feature.area_px
            self._area_m2 += feature.area_m2 or 0.0


def facts_of(tags: Mapping[str, str]) -> dict[str, object]:
    """Return what a map's tags say that its polygons' file says too: model, threshold, and that it is a quicklook."""
    facts: dict[str, object] = {name: tags[name] for name in ("model", "quicklook") if name in tags}
    return facts | {name: float(tags[name]) for name in ("threshold",) if name in tags}


def _has_area(located: Ground | NoGround) -> bool:
    return isinstance(located, Ground) or located.around_pole is not None or located.pixel_m2 is not None


def _outlined(rings: Rings, located: Ground | NoGround) -> tuple[Rings, Floats, Floats | None]:
    """Return the rings to draw, their points in the file's coordinates, (2, P), and the areas, m2, (N,), if known."""
    if isinstance(located, Ground):
        rings = rings.with_points_every(EDGE_PX)
        return rings, *drawn(located, rings)
    pixels = np.stack([rings.col, rings.row]).astype(np.float64)
    if located.around_pole is not None:
        return rings, pixels, drawn(located.around_pole, rings)[1]
    return rings, pixels, None if located.pixel_m2 is None else rings.area_px() * np.float64(located.pixel_m2)


def _features(components: Components, located: Ground | NoGround) -> Iterator[Feature]:
    rings = rings_of(components)
    assert np.array_equal(rings.area_px(), components.sums[0])
    rings, points, square_metres = _outlined(rings, located)
    areas_m2 = None if square_metres is None else [float(f"{area:.10g}") for area in square_metres.tolist()]
    closed, ends = _closed(rings, np.round(points, DECIMALS) + 0.0)  # no -0
    pixels, total, top, flagged = components.sums
    mean = np.round(total / (pixels * PROBABILITY_SCALE), 4).tolist()
    most = np.round(top / PROBABILITY_SCALE, 4).tolist()
    share = np.round(flagged / pixels, 4).tolist()
    bounds = list(itertools.pairwise([0, *ends]))
    first_ring = 0
    for index, last_ring in enumerate(rings.ring_ends.tolist()):
        yield Feature(
            id=int(components.first_pixel[index]) + 1,
            area_m2=None if areas_m2 is None else areas_m2[index],
            area_px=int(pixels[index]),
            mean_probability=mean[index],
            max_probability=most[index],
            qa_share=share[index],
            rings=[closed[start:end] for start, end in bounds[first_ring:last_ring]],
        )
        first_ring = last_ring


def _closed(rings: Rings, points: Floats) -> tuple[Floats, list[int]]:
    """Return the points of all rings, each ended with its first and wound as RFC 7946 says, and where each ends."""
    starts = rings.point_starts
    counts = rings.point_ends - starts
    ends = rings.point_ends + np.arange(1, len(starts) + 1)
    ring = np.repeat(np.arange(len(starts)), counts + 1)
    along = np.arange(len(ring)) - (ends - counts - 1)[ring]
    along = np.where(wound(rings, points)[ring], counts[ring] - along, along) % counts[ring]
    return points.T[starts[ring] + along], ends.tolist()


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except GDAL_ERRORS:
        raise
    except FAILURES as error:
        raise OutputError(
            f"the polygons can't be written to {path.parent} ({one_line(error)}); "
            "free some space or choose another folder"
        ) from error
