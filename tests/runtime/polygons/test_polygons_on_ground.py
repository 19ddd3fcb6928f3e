"""Where polygons lie and how much ground they cover, against closed-form areas and GDAL's own rasteriser."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import rasterio.warp
from landslide_maps import NORTH_UP, ROTATED, TRANSFORMS, UTM, blobs, fed, layers_of, parsed, written
from pyogrio.raw import read
from rasterio.crs import CRS
from rasterio.transform import Affine

WGS84_A, WGS84_F = 6_378_137.0, 1 / 298.257223563
E2 = WGS84_F * (2 - WGS84_F)
POLE_SCALE = 0.97277  # of EPSG:3031 at its pole: true at 71 degrees south


def lonlat_ring(ring: list[tuple[int, int]], transform: Affine, crs: str) -> list[tuple[float, float]]:
    a, b, c, d, e, f = transform[:6]
    xs, ys = zip(*((a * col + b * row + c, d * col + e * row + f) for col, row in ring), strict=True)
    return list(zip(*rasterio.warp.transform(crs, "EPSG:4326", xs, ys), strict=True))


def geodesic_area_m2(ring: list[tuple[float, float]]) -> float:
    """Area of a closed lon/lat ring, edges straight on the cylindrical equal-area map, by the authalic closed form."""
    e = math.sqrt(E2)

    def q(lat: float) -> float:
        s = math.sin(math.radians(lat))
        return (1 - E2) * (s / (1 - E2 * s * s) + math.atanh(e * s) / e)

    base = q(ring[0][1])
    total = 0.0
    for (lon0, lat0), (lon1, lat1) in itertools.pairwise(ring):
        total += math.radians(lon1 - lon0) * ((q(lat0) - base) + (q(lat1) - base)) / 2
    return abs(total) * WGS84_A**2 / 2


def pixel_corners(row: int, col: int) -> list[tuple[int, int]]:
    return [(col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1), (col, row)]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["north-up", "south-up", "rotated", "non-square", "mirrored"])
def test_polygons_lie_on_the_corners_of_their_pixels(tmp_path: Path, transform: Affine) -> None:
    classes = np.zeros((30, 40), "uint8")
    classes[4:14, 7:27] = 1  # the 10 x 20 px object that outlines through pixel centres shrink to 171 px2
    _, collection = written(tmp_path, classes, transform=transform)
    (feature,) = collection["features"]
    expected = set(lonlat_ring([(7, 4), (27, 4), (27, 14), (7, 14)], transform, UTM))
    assert len(feature["geometry"]["coordinates"]) == 1
    for lon, lat in feature["geometry"]["coordinates"][0]:
        assert any(abs(lon - a) < 1e-9 and abs(lat - b) < 1e-9 for a, b in expected)
    assert feature["properties"]["area_px"] == 200


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, NORTH_UP),
        (UTM, ROTATED),
        ("EPSG:4326", Affine(9e-5, 0, 91.75, 0, -9e-5, 22.49)),
        ("EPSG:4326", Affine(2e-4, 5e-5, 10.0, -5e-5, 1e-4, 78.0)),
        ("EPSG:3857", Affine(10, 0, 1.0e6, 0, -10, 9.0e6)),
        ("EPSG:3031", Affine(30, 0, 1.0e6, 0, -30, 2.0e5)),
        ("EPSG:2193", Affine(0.03, 0, 1.57e6, 0, -0.03, 5.18e6)),
    ],
    ids=["utm", "utm rotated", "geographic", "geographic rotated", "web mercator", "antarctic", "3 cm drone"],
)
def test_areas_of_polygons_add_up_to_the_geodesic_areas_of_their_pixels(
    tmp_path: Path, crs: str, transform: Affine
) -> None:
    classes = blobs((25, 35), seed=2)
    summary, collection = written(tmp_path, classes, crs=crs, transform=transform)
    of_pixels = sum(
        geodesic_area_m2(lonlat_ring(pixel_corners(int(r), int(c)), transform, crs))
        for r, c in zip(*np.nonzero(classes == 1), strict=True)
    )
    assert summary.area_px == (classes == 1).sum()
    assert summary.area_m2 == pytest.approx(of_pixels, rel=1e-6)
    assert sum(f["properties"]["area_m2"] for f in collection["features"]) == pytest.approx(of_pixels, rel=1e-6)


@pytest.mark.parametrize("rows", [slice(5, 25), slice(5, 6)], ids=["broad", "one pixel high"])
def test_an_edge_that_is_bent_on_the_ground_passes_all_corners_of_its_pixels(tmp_path: Path, rows: slice) -> None:
    """Pixels of 50 km between Greenland and Norway, where a corner too many or too few along an edge shows."""
    classes, transform, crs = np.zeros((30, 40), "uint8"), Affine(50e3, 0, 0.4e6, 0, -50e3, -0.5e6), "EPSG:3413"
    classes[rows, 4:36] = 1
    summary, _ = written(tmp_path, classes, crs=crs, transform=transform)
    ((lon, lat),) = lonlat_ring([(20, 15)], transform, crs)  # the middle of the raster
    plane = f"+proj=laea +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84"
    top, bottom = rows.start, rows.stop
    ring = [*((c, top) for c in range(4, 36)), *((36, r) for r in range(top, bottom))]
    ring += [*((c, bottom) for c in range(36, 4, -1)), *((4, r) for r in range(bottom, top, -1))]
    xs, ys = zip(*(transform @ corner for corner in ring), strict=True)
    x, y = map(np.array, rasterio.warp.transform(crs, plane, xs, ys))
    x, y = x - x[0], y - y[0]
    assert summary.area_m2 == pytest.approx(abs(x @ np.roll(y, -1) - np.roll(x, -1) @ y) / 2, rel=1e-9)


def test_area_in_utm_is_the_planar_area_over_the_square_of_the_scale(tmp_path: Path) -> None:
    """On the central meridian the scale is 0.9996; 3 degrees away it is about 1.0007: planar areas are off by 0.2 %."""
    classes = np.ones((10, 10), "uint8")
    at_meridian = Affine(1, 0, 499_995, 0, -1, 3_000_000)
    summary, _ = written(tmp_path, classes, transform=at_meridian)
    assert summary.area_m2 == pytest.approx(100 / 0.9996**2, rel=1e-7)
    away = Affine(1, 0, 200_000, 0, -1, 1)
    summary, _ = written(tmp_path, classes, transform=away)
    radius_m = WGS84_A * math.sqrt(1 - E2)  # at the equator, the geometric mean of both radii of curvature
    scale = 0.9996 * (1 + (299_995 / 0.9996) ** 2 / (2 * radius_m**2) + (299_995 / 0.9996) ** 4 / (24 * radius_m**4))
    assert summary.area_m2 == pytest.approx(100 / scale**2, rel=3e-6)


def test_areas_hold_across_a_continent(tmp_path: Path) -> None:
    """Pixels of a quarter degree, 30 degrees wide: a projection that keeps areas only near its centre would be off."""
    classes, transform = np.ones((60, 120), "uint8"), Affine(0.25, 0, 70, 0, -0.25, 40)
    summary, _ = written(tmp_path, classes, crs="EPSG:4326", transform=transform)
    rectangle = geodesic_area_m2([(70, 40), (100, 40), (100, 25), (70, 25), (70, 40)])
    assert summary.area_m2 == pytest.approx(rectangle, rel=1e-5)


def test_area_of_the_written_polygon_agrees_with_the_area_it_states(tmp_path: Path) -> None:
    """A 6 km edge, straight in the raster, is bent in longitude and latitude: corners alone would lose ground."""
    classes = np.zeros((620, 300), "uint8")
    classes[10:610, 10:290] = 1
    classes[100:200, 100:200] = 0
    far_north = Affine(10, 0, 200_000, 0, -10, 8_500_000)
    _, collection = written(tmp_path, classes, transform=far_north)
    (feature,) = collection["features"]
    outer, hole = ([tuple(p) for p in ring] for ring in feature["geometry"]["coordinates"])
    drawn = geodesic_area_m2(outer) - geodesic_area_m2(hole)
    assert drawn == pytest.approx(feature["properties"]["area_m2"], rel=1e-7)


def test_neighbours_of_the_antimeridian_lie_on_their_side_of_it(tmp_path: Path) -> None:
    classes = np.zeros((20, 60), "uint8")
    classes[5:15, 5:55] = 1
    classes[7:13, 28:33] = classes[8:10, 8:10] = classes[8:10, 50:52] = 0  # holes on the line, west and east of it
    classes[1:3, 2:4] = classes[1:3, 56:58] = 1
    x, y = (values[0] for values in rasterio.warp.transform("EPSG:4326", "EPSG:32701", [-180.0], [-18.0]))
    transform = Affine(10, 0, x - 300, 0, -10, y)
    summary, collection = written(tmp_path, classes, crs="EPSG:32701", transform=transform)
    west, east, across = (feature["geometry"]["coordinates"] for feature in collection["features"])
    assert all(179 < lon < 180 for lon, _ in west[0])
    assert all(-180 < lon < -179 for lon, _ in east[0])
    assert sorted(len(rings) for rings in across) == [2, 2]  # a hole each; that on the line is part of both outlines
    assert summary.area_m2 == pytest.approx((500 - 30 - 4 - 4 + 4 + 4) * 100, rel=3e-3)


def test_longitudes_from_0_to_360_come_back_to_the_usual_range(tmp_path: Path) -> None:
    classes = np.ones((4, 4), "uint8")
    transform = Affine(1e-4, 0, 190, 0, -1e-4, 10)
    _, collection = written(tmp_path, classes, crs="EPSG:4326", transform=transform)
    assert all(-170.001 < lon < -169.999 for lon, _ in collection["features"][0]["geometry"]["coordinates"][0])


MOON = 'GEOGCS["Moon",DATUM["Moon",SPHEROID["Moon",1737400,0]],PRIMEM["Meridian",0],UNIT["degree",0.0174532925199433]]'


@pytest.mark.parametrize(
    ("crs", "transform", "reason", "area_m2"),
    [
        (None, Affine.identity(), "the scene has no CRS", None),
        (None, NORTH_UP, "the scene has no CRS", None),
        (UTM, Affine.identity(), "no transform", None),
        ('LOCAL_CS["site",UNIT["metre",1]]', NORTH_UP, "no way to longitude and latitude", 2.5),
        ('LOCAL_CS["site",UNIT["foot",0.3048]]', ROTATED, "no way to longitude and latitude", 2.5 * 0.3048**2),
        ('LOCAL_CS["site",UNIT["unknown",1]]', NORTH_UP, "no way to longitude and latitude", None),
        ("EPSG:4978", NORTH_UP, "no way to longitude and latitude", None),
        ("EPSG:5773", NORTH_UP, "no way to longitude and latitude", None),
        (f'PROJCS["Moon",{MOON},PROJECTION["Equirectangular"],UNIT["metre",1]]', NORTH_UP, "no way to longitude", 2.5),
        (MOON, Affine(0.1, 0, 10, 0, -0.1, 10), "no way to longitude and latitude", None),
        ("EPSG:4326", NORTH_UP, "no way to longitude and latitude", None),
        ("EPSG:3031", Affine(1000, 0, -4000, 0, -1000, 4000), "surrounds a pole", 1e7 / POLE_SCALE**2),
    ],
    ids=[
        *("no crs", "no crs, a transform", "no transform", "site", "site in feet", "site without units", "geocentric"),
        *("heights", "moon", "moon in degrees", "off the Earth", "around a pole"),
    ],
)
@pytest.mark.parametrize("suffix", ["geojson", "gpkg"])
def test_polygons_without_longitude_and_latitude_are_in_pixels_and_no_reader_takes_them_for_these(
    tmp_path: Path, crs: str | None, transform: Affine, reason: str, area_m2: float | None, suffix: str
) -> None:
    classes = np.zeros((8, 8), "uint8")
    classes[2:4, 1:6] = 1
    placed = {"crs": None if crs is None else CRS.from_user_input(crs), "transform": transform}
    summary = fed(tmp_path / f"m.{suffix}", layers_of(classes), **placed)
    area = None if area_m2 is None else pytest.approx(area_m2, rel=1e-5)
    assert (summary.count, summary.area_px, summary.area_m2) == (1, 10, area)
    meta, _, geometry, columns = read(tmp_path / f"m.{suffix}")
    system = CRS.from_user_input(meta["crs"])
    assert not system.is_geographic
    assert not system.is_projected
    assert parsed(geometry[0]) == [[[1, 2], [6, 2], [6, 4], [1, 4], [1, 2]]]  # counter-clockwise
    (found,) = columns[meta["fields"].tolist().index("area_m2")]
    assert found == area if area is not None else found is None or np.isnan(found)
    if suffix == "geojson":
        collection = json.loads((tmp_path / "m.geojson").read_text())
        assert collection["coordinate_system"].startswith("pixel (column, row)")
        assert reason in collection["coordinate_system"]


def test_gdal_reads_the_file_as_lonlat_polygons(tmp_path: Path) -> None:
    """Rasterised by GDAL on a finer grid, the polygons cover what the map covers."""
    classes = blobs((30, 30), seed=3)
    transform, third = Affine(3e-4, 0, 100, 0, -3e-4, 20), Affine(1e-4, 0, 100, 0, -1e-4, 20)
    _, collection = written(tmp_path, classes, crs="EPSG:4326", transform=transform)
    fine = rasterio.features.rasterize(
        [f["geometry"] for f in collection["features"]], out_shape=(90, 90), transform=third
    )
    np.testing.assert_array_equal(fine, np.kron(classes == 1, np.ones((3, 3), bool)))


def test_a_coordinate_of_nothing_has_no_sign(tmp_path: Path) -> None:
    """Just west of Greenwich: rounded to what is written, -1e-12 degrees would be -0."""
    classes = np.zeros((4, 4), "uint8")
    classes[1:3, 1:3] = 1
    written(tmp_path, classes, crs="EPSG:4326", transform=Affine(1e-3, 0, -1e-3 - 1e-12, 0, -1e-3, 2e-3 - 1e-12))
    (path,) = tmp_path.glob("*.geojson")
    text = path.read_text(encoding="utf-8")
    assert re.search(r"[\[,]0(\.0*)?[,\]]", text), "no coordinate is nothing"
    assert not re.search(r"-0(\.0*)?[,\]]", text)
