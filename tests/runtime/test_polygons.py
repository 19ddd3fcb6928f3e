"""Polygons of a map against a slow flood fill, closed-form areas and GDAL's own rasteriser."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.features
import rasterio.warp
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from kda_edge.errors import OutputError, SceneError, UsageError
from kda_edge.runtime.components import components_of, strips
from kda_edge.runtime.gdal import open_raster
from kda_edge.runtime.ground import signed_area
from kda_edge.runtime.polygons import PolygonSummary, write_polygons

UTM = "EPSG:32647"
NORTH_UP = Affine(0.5, 0, 300_000, 0, -0.5, 2_900_000)
SOUTH_UP = Affine(0.5, 0, 300_000, 0, 0.5, 2_900_000)
ROTATED = Affine(0.4, 0.3, 300_000, 0.3, -0.4, 2_900_000)
NON_SQUARE = Affine(0.7, 0, 300_000, 0, -0.3, 2_900_000)
MIRRORED = Affine(-0.5, 0, 300_000, 0, -0.5, 2_900_000)
TRANSFORMS = [NORTH_UP, SOUTH_UP, ROTATED, NON_SQUARE, MIRRORED]

WGS84_A, WGS84_F = 6_378_137.0, 1 / 298.257223563
E2 = WGS84_F * (2 - WGS84_F)


def write_map(
    path: Path,
    classes: np.ndarray,
    *,
    crs: str | None = UTM,
    transform: Affine = NORTH_UP,
    probability: np.ndarray | None = None,
    qa: np.ndarray | None = None,
    tags: dict[str, str] | None = None,
    **profile: Any,
) -> Path:
    height, width = classes.shape
    with pytest.warns(NotGeoreferencedWarning) if transform.is_identity else contextlib.nullcontext():
        dataset = rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=3,
            dtype="uint8",
            crs=crs,
            transform=transform,
            **profile,
        )
    with dataset:
        dataset.write(classes.astype("uint8"), 1)
        dataset.write(np.full_like(classes, 200) if probability is None else probability.astype("uint8"), 2)
        dataset.write(np.zeros_like(classes) if qa is None else qa.astype("uint8"), 3)
        dataset.write_mask(np.where(classes == 255, 0, 255).astype("uint8"))
        dataset.update_tags(**(tags or {}))
    return path


@st.composite
def speckled(draw: st.DrawFn) -> np.ndarray:
    """Classes of a small map: independent pixels, so that shapes are as odd as can be."""
    shape_hw = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    slide = draw(st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.8, 1.0]))
    return generator.choice([0, 1, 255], shape_hw, p=[0.8 * (1 - slide), slide, 0.2 * (1 - slide)]).astype("uint8")


def blobs(shape_hw: tuple[int, int], *, seed: int, share: float = 0.55) -> np.ndarray:
    """Random classes with holes, diagonal touches and a corner of nodata."""
    classes = (np.random.default_rng(seed).random(shape_hw) < share).astype("uint8")
    classes[: shape_hw[0] // 4, : shape_hw[1] // 4] = 255
    return classes


def flood(classes: np.ndarray) -> list[list[tuple[int, int]]]:
    """Groups of landslide pixels that share an edge, by the slow obvious way, in reading order of first pixels."""
    left = {(int(r), int(c)) for r, c in zip(*np.nonzero(classes == 1), strict=True)}
    groups = []
    for start in sorted(left):
        if start not in left:
            continue
        left.discard(start)
        group, todo = [], [start]
        while todo:
            r, c = todo.pop()
            group.append((r, c))
            for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if near in left:
                    left.discard(near)
                    todo.append(near)
        groups.append(group)
    return groups


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


def signed(ring: list[list[float]]) -> float:
    x0, y0 = ring[0]
    return sum((ax - x0) * (by - y0) - (bx - x0) * (ay - y0) for (ax, ay), (bx, by) in itertools.pairwise(ring)) / 2


def written(map_path: Path, **options: Any) -> tuple[PolygonSummary, dict[str, Any]]:
    out = map_path.with_suffix(".geojson")
    summary = write_polygons(map_path, out, **options)
    return summary, json.loads(out.read_text())


def burnt(feature: dict[str, Any], shape_hw: tuple[int, int]) -> set[tuple[int, int]]:
    """The pixels of a feature in pixel coordinates, by GDAL's own rasteriser."""
    inside = rasterio.features.rasterize([feature["geometry"]], out_shape=shape_hw)
    return {(int(r), int(c)) for r, c in zip(*np.nonzero(inside), strict=True)}


@settings(max_examples=60, deadline=None)
@given(classes=speckled())
def test_each_polygon_is_exactly_one_group_of_pixels_that_share_an_edge(
    tmp_path_factory: pytest.TempPathFactory, classes: np.ndarray
) -> None:
    generator = np.random.default_rng(classes.size)
    probability = generator.integers(0, 255, classes.shape)
    qa = generator.integers(0, 2, classes.shape) * generator.integers(0, 16, classes.shape)
    folder = tmp_path_factory.mktemp("map")
    path = write_map(
        folder / "m.tif", classes, crs=None, transform=Affine.identity(), probability=probability, qa=qa, blockysize=1
    )
    summary, collection = written(path)
    groups = flood(classes)
    features = {feature["id"]: feature for feature in collection["features"]}
    assert sorted(features) == list(range(1, len(groups) + 1))
    assert summary == PolygonSummary(count=len(groups), area_m2=None, area_px=int((classes == 1).sum()))
    for number, group in enumerate(groups, start=1):
        feature, properties = features[number], features[number]["properties"]
        assert burnt(feature, classes.shape) == set(group)
        rows, cols = np.array(group).T
        assert properties["area_px"] == len(group)
        assert properties["area_m2"] is None
        assert properties["mean_probability"] == pytest.approx(probability[rows, cols].mean() / 254, abs=6e-5)
        assert properties["max_probability"] == pytest.approx(probability[rows, cols].max() / 254, abs=6e-5)
        assert properties["qa_share"] == pytest.approx((qa[rows, cols] != 0).mean(), abs=6e-5)


@settings(max_examples=40, deadline=None)
@given(
    classes=speckled(),
    strip_rows=st.integers(1, 7),
)
def test_where_a_strip_ends_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, classes: np.ndarray, strip_rows: int
) -> None:
    probability = np.random.default_rng(classes.size).integers(0, 255, classes.shape)
    path = write_map(tmp_path_factory.mktemp("map") / "m.tif", classes, probability=probability, blockysize=1)
    with open_raster(path) as dataset:
        strip_px = strip_rows * classes.shape[1]
        assert [w.height for w in strips(dataset, strip_px=strip_px)][:-1] == [strip_rows] * (
            -(-len(classes) // strip_rows) - 1
        )
        whole, cut = components_of(dataset), components_of(dataset, strip_px=strip_px)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(cut, name), values, err_msg=name)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["north-up", "south-up", "rotated", "non-square", "mirrored"])
def test_rings_are_closed_simple_and_wound_as_rfc_7946_says(tmp_path: Path, transform: Affine) -> None:
    summary, collection = written(write_map(tmp_path / "m.tif", blobs((40, 50), seed=1), transform=transform))
    assert collection["type"] == "FeatureCollection"
    assert "crs" not in collection
    assert collection["coordinate_system"] == "EPSG:4326"
    assert summary.count == len(collection["features"]) > 10
    holes = 0
    for feature in collection["features"]:
        outer, *inner = feature["geometry"]["coordinates"]
        holes += len(inner)
        assert signed(outer) > 0
        assert all(signed(ring) < 0 for ring in inner)
        for ring in (outer, *inner):
            assert ring[0] == ring[-1]
            corners = [tuple(point) for point in ring[:-1]]
            assert len(set(corners)) == len(corners) >= 4
            assert all(round(value, 9) == value for point in corners for value in point)
    assert holes > 5


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["north-up", "south-up", "rotated", "non-square", "mirrored"])
def test_polygons_lie_on_the_corners_of_their_pixels(tmp_path: Path, transform: Affine) -> None:
    classes = np.zeros((30, 40), "uint8")
    classes[4:14, 7:27] = 1  # the 10 x 20 px object that outlines through pixel centres shrink to 171 px2
    _, collection = written(write_map(tmp_path / "m.tif", classes, transform=transform))
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
    summary, collection = written(write_map(tmp_path / "m.tif", classes, crs=crs, transform=transform))
    of_pixels = sum(
        geodesic_area_m2(lonlat_ring(pixel_corners(int(r), int(c)), transform, crs))
        for r, c in zip(*np.nonzero(classes == 1), strict=True)
    )
    assert summary.area_px == (classes == 1).sum()
    assert summary.area_m2 == pytest.approx(of_pixels, rel=1e-6)
    assert sum(f["properties"]["area_m2"] for f in collection["features"]) == pytest.approx(of_pixels, rel=1e-6)


def test_area_in_utm_is_the_planar_area_over_the_square_of_the_scale(tmp_path: Path) -> None:
    """On the central meridian the scale is 0.9996; 3 degrees away it is about 1.0007: planar areas are off by 0.2 %."""
    classes = np.ones((10, 10), "uint8")
    at_meridian = Affine(1, 0, 499_995, 0, -1, 3_000_000)
    summary, _ = written(write_map(tmp_path / "a.tif", classes, transform=at_meridian))
    assert summary.area_m2 == pytest.approx(100 / 0.9996**2, rel=1e-7)
    away = Affine(1, 0, 200_000, 0, -1, 1)
    summary, _ = written(write_map(tmp_path / "b.tif", classes, transform=away))
    radius_m = WGS84_A * math.sqrt(1 - E2)  # at the equator, the geometric mean of both radii of curvature
    scale = 0.9996 * (1 + (299_995 / 0.9996) ** 2 / (2 * radius_m**2) + (299_995 / 0.9996) ** 4 / (24 * radius_m**4))
    assert summary.area_m2 == pytest.approx(100 / scale**2, rel=3e-6)


def test_areas_hold_across_a_continent(tmp_path: Path) -> None:
    """Pixels of a quarter degree, 30 degrees wide: a projection that keeps areas only near its centre would be off."""
    classes, transform = np.ones((60, 120), "uint8"), Affine(0.25, 0, 70, 0, -0.25, 40)
    summary, _ = written(write_map(tmp_path / "m.tif", classes, crs="EPSG:4326", transform=transform))
    rectangle = geodesic_area_m2([(70, 40), (100, 40), (100, 25), (70, 25), (70, 40)])
    assert summary.area_m2 == pytest.approx(rectangle, rel=1e-5)


def test_areas_keep_their_digits_far_from_the_origin() -> None:
    ring = np.array([[0, 0.01, 0.01, 0, 0], [0, 0, 0.01, 0.01, 0]]) + np.array([[2.0**23], [2.0**23]])
    sides = ring.max(axis=1) - ring.min(axis=1)
    assert signed_area(ring) == pytest.approx(sides.prod(), rel=1e-12)


def test_area_of_the_written_polygon_agrees_with_the_area_it_states(tmp_path: Path) -> None:
    """A 6 km edge, straight in the raster, is bent in longitude and latitude: corners alone would lose ground."""
    classes = np.zeros((620, 300), "uint8")
    classes[10:610, 10:290] = 1
    classes[100:200, 100:200] = 0
    far_north = Affine(10, 0, 200_000, 0, -10, 8_500_000)
    _, collection = written(write_map(tmp_path / "m.tif", classes, transform=far_north))
    (feature,) = collection["features"]
    outer, hole = ([tuple(p) for p in ring] for ring in feature["geometry"]["coordinates"])
    drawn = geodesic_area_m2(outer) - geodesic_area_m2(hole)
    assert drawn == pytest.approx(feature["properties"]["area_m2"], rel=1e-7)


def test_longitudes_run_on_across_the_antimeridian(tmp_path: Path) -> None:
    classes = np.zeros((20, 60), "uint8")
    classes[5:15, 5:55] = 1
    x, y = (values[0] for values in rasterio.warp.transform("EPSG:4326", "EPSG:32701", [-180.0], [-18.0]))
    transform = Affine(10, 0, x - 300, 0, -10, y)
    summary, collection = written(write_map(tmp_path / "m.tif", classes, crs="EPSG:32701", transform=transform))
    longitudes = [lon for lon, _ in collection["features"][0]["geometry"]["coordinates"][0]]
    assert max(longitudes) - min(longitudes) < 0.01
    assert min(longitudes) < -180 < max(longitudes) or min(longitudes) < 180 < max(longitudes)
    assert summary.area_m2 == pytest.approx(500 * 100, rel=3e-3)


def test_longitudes_from_0_to_360_come_back_to_the_usual_range(tmp_path: Path) -> None:
    classes = np.ones((4, 4), "uint8")
    path = write_map(tmp_path / "m.tif", classes, crs="EPSG:4326", transform=Affine(1e-4, 0, 190, 0, -1e-4, 10))
    _, collection = written(path)
    assert all(-170.001 < lon < -169.999 for lon, _ in collection["features"][0]["geometry"]["coordinates"][0])


def _in_pixels(collection: dict[str, Any], reason: str) -> None:
    assert collection["coordinate_system"].startswith("pixel (column, row)")
    assert reason in collection["coordinate_system"]
    (feature,) = collection["features"]
    assert feature["properties"]["area_m2"] is None
    assert sorted(map(tuple, feature["geometry"]["coordinates"][0][:-1])) == [(1, 2), (1, 4), (6, 2), (6, 4)]
    assert signed(feature["geometry"]["coordinates"][0]) > 0


@pytest.mark.parametrize(
    ("crs", "transform", "reason"),
    [
        (None, Affine.identity(), "the scene has no CRS"),
        (None, NORTH_UP, "the scene has no CRS"),
        (UTM, Affine.identity(), "no transform"),
        ('LOCAL_CS["site",UNIT["metre",1]]', NORTH_UP, "no way to longitude and latitude"),
        ("EPSG:4326", NORTH_UP, "no way to longitude and latitude"),
        ("EPSG:3031", Affine(1000, 0, -4000, 0, -1000, 4000), "surrounds a pole"),
    ],
    ids=["no crs", "no crs, a transform", "no transform", "local crs", "off the Earth", "around a pole"],
)
def test_polygons_without_a_place_on_earth_are_in_pixels_and_say_so(
    tmp_path: Path, crs: str | None, transform: Affine, reason: str
) -> None:
    classes = np.zeros((8, 8), "uint8")
    classes[2:4, 1:6] = 1
    summary, collection = written(write_map(tmp_path / "m.tif", classes, crs=crs, transform=transform))
    assert summary == PolygonSummary(count=1, area_m2=None, area_px=10)
    _in_pixels(collection, reason)


def test_min_area_is_in_square_metres_and_ids_do_not_depend_on_it(tmp_path: Path) -> None:
    classes = np.zeros((20, 20), "uint8")
    classes[1, 1:3] = classes[5:8, 5:8] = classes[15, 1] = 1  # 2, 9 and 1 pixels of 0.25 m2
    path = write_map(tmp_path / "m.tif", classes)
    everything, all_of_it = written(path)
    some, part_of_it = written(path, min_area=0.4)
    assert (everything.count, some.count, some.area_px) == (3, 2, 11)
    assert some.area_m2 == pytest.approx(11 * 0.25, rel=2e-3)
    assert {f["id"]: f["properties"]["area_px"] for f in all_of_it["features"]} == {1: 2, 2: 9, 3: 1}
    assert {f["id"]: f["properties"]["area_px"] for f in part_of_it["features"]} == {1: 2, 2: 9}


def test_min_area_is_in_pixels_where_there_is_no_crs(tmp_path: Path) -> None:
    classes = np.zeros((20, 20), "uint8")
    classes[1, 1:3] = classes[5:8, 5:8] = 1
    path = write_map(tmp_path / "m.tif", classes, crs=None, transform=Affine.identity())
    assert written(path, min_area=9)[0] == PolygonSummary(count=1, area_m2=None, area_px=9)


@pytest.mark.parametrize("min_area", [-1.0, math.nan])
def test_a_least_area_that_cannot_be_is_refused(tmp_path: Path, min_area: float) -> None:
    path = write_map(tmp_path / "m.tif", np.ones((2, 2), "uint8"))
    with pytest.raises(UsageError, match="least area"):
        written(path, min_area=min_area)


def test_a_map_without_landslides_gives_an_empty_collection(tmp_path: Path) -> None:
    summary, collection = written(write_map(tmp_path / "m.tif", np.zeros((5, 5), "uint8")))
    assert summary == PolygonSummary(count=0, area_m2=0.0, area_px=0)
    assert collection["features"] == []


def test_the_collection_carries_the_facts_of_the_map(tmp_path: Path) -> None:
    tags = {"threshold": "0.45", "model": "nano"}
    _, collection = written(write_map(tmp_path / "m.tif", np.ones((2, 2), "uint8"), tags=tags))
    assert collection["threshold"] == 0.45
    assert collection["model"] == "nano"


def test_gdal_reads_the_file_as_lonlat_polygons(tmp_path: Path) -> None:
    """Rasterised by GDAL on a finer grid, the polygons cover what the map covers."""
    classes = blobs((30, 30), seed=3)
    transform, third = Affine(3e-4, 0, 100, 0, -3e-4, 20), Affine(1e-4, 0, 100, 0, -1e-4, 20)
    _, collection = written(write_map(tmp_path / "m.tif", classes, crs="EPSG:4326", transform=transform))
    fine = rasterio.features.rasterize(
        [f["geometry"] for f in collection["features"]], out_shape=(90, 90), transform=third
    )
    np.testing.assert_array_equal(fine, np.kron(classes == 1, np.ones((3, 3), bool)))


def test_a_file_that_is_no_raster_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.tif").write_bytes(b"not a raster")
    with pytest.raises(SceneError, match=r"m\.tif"):
        write_polygons(tmp_path / "m.tif", tmp_path / "m.geojson")


def test_a_map_cut_short_is_named(tmp_path: Path) -> None:
    path = write_map(tmp_path / "m.tif", blobs((600, 600), seed=4), compress="deflate")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(SceneError, match=r"m\.tif"):
        write_polygons(path, tmp_path / "m.geojson")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = write_map(tmp_path / "m.tif", np.ones((2, 2), "uint8"))
    with pytest.raises(OutputError, match="no-such-folder"):
        write_polygons(path, tmp_path / "no-such-folder" / "m.geojson")


MEASURE = """
import sys
from pathlib import Path
import rasterio
from kda_edge.runtime.polygons import write_polygons
def peak_kb():  # getrusage would count the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
before = peak_kb()
with rasterio.Env(GDAL_CACHEMAX=32_000_000):
    print(write_polygons(Path(sys.argv[1]), Path(sys.argv[2])).count)
print(peak_kb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_stays_far_below_the_raster(tmp_path: Path) -> None:
    """A map of 3 x 100 MB is turned into polygons within 180 MB, the interpreter not counted."""
    side, block = 10_000, 500
    path = tmp_path / "big.tif"
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "crs": UTM}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    stripe = np.zeros((3, block, side), "uint8")
    stripe[:, 100:140, :: side // 20] = 1
    stripe[:, 200:300, 100:9_000] = 1
    with rasterio.open(path, "w", **profile, **tiles, transform=NORTH_UP) as dataset:
        for row in range(0, side, block):
            dataset.write(stripe, window=((row, row + block), (0, side)))
    command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path / "big.geojson")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    count, growth_kb = map(int, done.stdout.split())
    assert count == 20 * 21
    assert growth_kb < 180_000
