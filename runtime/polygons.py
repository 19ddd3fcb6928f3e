"""Landslide polygons of a map: GeoJSON in longitude and latitude, outlines on pixel corners, areas on the ellipsoid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.features import shapes

from kda_edge.errors import OutputError, SceneError, UsageError

from .components import PROBABILITY_SCALE, Components, components_of
from .gdal import GDAL_ERRORS, one_line, open_raster
from .ground import Floats, Ground, continuous, locate, signed_area

Ints = npt.NDArray[np.int64]

EDGE_PX: Final = 64  # longest straight edge written: at 30 m a pixel it strays less than 0.01 px from the raster's
DECIMALS: Final = 9  # of a degree: 0.1 mm


@dataclass(frozen=True)
class PolygonSummary:
    """What was written.

    Attributes:
        count: polygons.
        area_m2: their ground area on the WGS84 ellipsoid; None where the pixels have no place on Earth.
        area_px: their pixels.
    """

    count: int
    area_m2: float | None
    area_px: int


def write_polygons(map_path: Path, out_path: Path, *, min_area: float = 0.0) -> PolygonSummary:
    """Write the landslides of a map as a GeoJSON FeatureCollection (RFC 7946).

    A polygon is a group of landslide pixels (class 1) that share an edge, drawn on pixel corners, holes cut out;
    pixels that touch at a corner only are separate polygons. Exterior rings run counter-clockwise. Each feature says
    `id` (by its first pixel in reading order, the same whatever `min_area`), `area_m2` (on the WGS84 ellipsoid),
    `area_px`, `mean_probability`, `max_probability` and `qa_share` (share of its pixels with any qa bit).

    The collection's member `coordinate_system` says what the coordinates are: EPSG:4326, longitude first, or, where
    the scene has no CRS, a CRS without a way to longitude and latitude, or surrounds a pole, pixels (column, row) from
    the raster's upper left corner, with the reason and with `area_m2` null. `threshold` and `model` are the map's.

    A polygon across the antimeridian is not cut in two: its longitudes run on past 180 or -180 degrees.

    Args:
        map_path: the landslide map, bands class, probability and qa.
        out_path: the .geojson, replaced if it exists; what is there after an error is worthless.
        min_area: polygons below it are left out; m2, or pixels where there is no `area_m2`.

    Raises:
        UsageError: `min_area` is below 0 or not a number.
        SceneError: the map can't be read, or a polygon has no place on Earth.
        OutputError: the file can't be written.
    """
    if not min_area >= 0:
        raise UsageError(f"the least area must be 0 or more, not {min_area}")
    try:
        with open_raster(map_path) as dataset, out_path.open("w", encoding="utf-8") as file:
            return _write_collection(dataset, file, min_area)
    except GDAL_ERRORS as error:
        raise SceneError(f"{map_path} can't be read back ({one_line(error)}); make the map again") from error
    except OSError as error:
        raise OutputError(
            f"the polygons can't be written to {out_path} ({one_line(error)}); free some space or choose another folder"
        ) from error


def _write_collection(dataset: Any, file: Any, min_area: float) -> PolygonSummary:
    located = locate(dataset)
    ground = located if isinstance(located, Ground) else None
    system = "EPSG:4326" if isinstance(located, Ground) else f"pixel (column, row): {located.reason}"
    head = {"type": "FeatureCollection", "coordinate_system": system, **_facts(dataset.tags())}
    file.write(json.dumps(head)[:-1] + ', "features": [')
    components = components_of(dataset)
    count, area_px, area_m2 = 0, 0, 0.0
    for rings in _pixel_rings(dataset):
        outer = rings[0]
        top = outer[:, outer[1] == outer[1].min()]
        index = components.at(int(top[1, 0]), int(top[0].min()), dataset.width)
        feature = _feature(rings, index, components, ground)
        properties = feature["properties"]
        if (properties["area_px"] if ground is None else properties["area_m2"]) < min_area:
            continue
        file.write(("," if count else "") + "\n" + json.dumps(feature, separators=(",", ":")))
        count += 1
        area_px += properties["area_px"]
        area_m2 += properties["area_m2"] or 0.0
    file.write("\n]}\n")
    return PolygonSummary(count=count, area_m2=None if ground is None else area_m2, area_px=area_px)


def _facts(tags: dict[str, str]) -> dict[str, object]:
    facts: dict[str, object] = {name: tags[name] for name in ("model",) if name in tags}
    return facts | {name: float(tags[name]) for name in ("threshold",) if name in tags}


def _pixel_rings(dataset: Any) -> Iterator[list[Ints]]:
    """Yield the closed rings of each landslide, the exterior first, as pixel corners (column, row), each (2, N)."""
    band = rasterio.band(dataset, 1)
    inverse = ~dataset.transform
    for geometry, value in shapes(band, mask=band, connectivity=4):  # the band as its own mask: background is skipped
        if value != 1:
            continue
        rings = []
        for ring in geometry["coordinates"]:
            x, y = np.array(ring, np.float64).T
            col = inverse.a * x + inverse.b * y + inverse.c
            row = inverse.d * x + inverse.e * y + inverse.f
            rings.append(np.rint(np.stack([col, row])).astype(np.int64))
        yield rings


def _feature(rings: list[Ints], index: int, components: Components, ground: Ground | None) -> dict[str, Any]:
    pixels = int(components.area_px[index])
    if ground is None:
        area_m2, drawn = None, [ring.astype(np.float64) for ring in rings]
    else:
        area_m2, drawn = _on_ground(rings, ground)
    wound = [_wound(ring, counter_clockwise=number == 0) for number, ring in enumerate(drawn)]
    return {
        "type": "Feature",
        "id": index + 1,
        "geometry": {"type": "Polygon", "coordinates": [np.round(ring.T, DECIMALS).tolist() for ring in wound]},
        "properties": {
            "id": index + 1,
            "area_m2": area_m2,
            "area_px": pixels,
            "mean_probability": round(int(components.probability_sum[index]) / (pixels * PROBABILITY_SCALE), 4),
            "max_probability": round(int(components.probability_max[index]) / PROBABILITY_SCALE, 4),
            "qa_share": round(int(components.flagged_px[index]) / pixels, 4),
        },
    }


def _on_ground(rings: list[Ints], ground: Ground) -> tuple[float, list[Floats]]:
    """Return the ground area, m2, and the rings to draw, longitude and latitude.

    The area goes through every pixel corner of the rings: then the areas of pixels add up to the areas of polygons.
    """
    corners, drawn = zip(*(_every_corner(ring) for ring in rings), strict=True)
    ends = np.cumsum([ring.shape[1] for ring in corners])[:-1]
    lonlat = ground.lonlat(np.concatenate(corners, axis=1))
    outer, *holes = (abs(signed_area(ring)) for ring in np.split(ground.metres(lonlat), ends, axis=1))
    joined = continuous(lonlat)
    joined[0] -= 360.0 * np.floor(((joined[0].min() + joined[0].max()) / 2.0 + 180.0) / 360.0)
    rings_lonlat = np.split(joined, ends, axis=1)
    return float(f"{outer - sum(holes):.10g}"), [r[:, kept] for r, kept in zip(rings_lonlat, drawn, strict=True)]


def _every_corner(ring: Ints) -> tuple[Ints, Ints]:
    """Return the ring with each pixel corner that it passes, and the places in it of the corners that are drawn.

    Drawn are the turns and, so that a straight edge stays straight on the ground, every `EDGE_PX` between them.
    """
    steps = np.diff(ring)
    lengths = np.abs(steps).sum(axis=0)
    along = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    passed = np.repeat(ring[:, :-1], lengths, axis=1) + np.repeat(np.sign(steps), lengths, axis=1) * along
    drawn = np.append(np.flatnonzero(along % EDGE_PX == 0), along.size)
    return np.concatenate([passed, ring[:, -1:]], axis=1), drawn


def _wound(ring: Floats, *, counter_clockwise: bool) -> Floats:
    return ring if (signed_area(ring) > 0) == counter_clockwise else ring[:, ::-1]
