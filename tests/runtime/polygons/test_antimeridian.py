"""GeoJSON polygons across the antimeridian, against the pixels that they are made of and GDAL's own rasteriser."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import rasterio.features
import rasterio.warp
from hypothesis import given, settings
from hypothesis import strategies as st
from landslide_maps import SHAPES, drawn_as, fed, flood, layers_of, speckled
from rasterio.crs import CRS
from rasterio.transform import Affine

from kda_edge.runtime.polygons.polygon_writer import PolygonSummary

STEP = 1 / 8  # degrees a pixel: no coordinate is rounded
FINER = 4  # pixels of the check along one of the map


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("antimeridian") / "m.geojson"


def across(path: Path, classes: np.ndarray, west_px: float, edge: int) -> tuple[PolygonSummary, list[dict[str, Any]]]:
    """Write the polygons of a map of which so many pixels lie west of 180 or -180 degrees."""
    transform = Affine(STEP, 0, edge - west_px * STEP, 0, -STEP, 60.0)
    summary = fed(path, layers_of(classes), crs=CRS.from_epsg(4326), transform=transform)
    return summary, json.loads(path.read_text())["features"]


def polygons_of(feature: dict[str, Any]) -> list[list[np.ndarray]]:
    geometry = feature["geometry"]
    several = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    assert (len(several) > 1) == (geometry["type"] == "MultiPolygon")
    return [[np.array(ring) for ring in rings] for rings in several]


def require_valid(path: Path) -> None:
    """By GEOS, through GDAL."""
    query = f'SELECT id FROM "{path.stem}" WHERE NOT ST_IsValid(geometry)'
    assert pyogrio.raw.read(path, sql=query, sql_dialect="SQLITE")[3][0].tolist() == []


def signed_area(ring: np.ndarray) -> float:
    """Square degrees, above 0 where counter-clockwise; exact."""
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    return float(np.sum(x0 * y1 - x1 * y0)) / 2


def burnt(polygons: list[list[np.ndarray]], shape_hw: tuple[int, int], west_px: float) -> np.ndarray:
    """How many of the polygons cover each pixel of a finer map that begins where the map does."""
    covered = np.zeros((shape_hw[0] * FINER, shape_hw[1] * FINER), int)
    for rings in polygons:
        east_of_the_line = rings[0][:, 0].min() < 0
        first = (-180 if east_of_the_line else 180) - west_px * STEP
        transform = Affine(STEP / FINER, 0, first, 0, -STEP / FINER, 60.0)
        geometry = {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]}
        covered += rasterio.features.rasterize([geometry], out_shape=covered.shape, transform=transform)
    return covered


def require_cut(path: Path, classes: np.ndarray, west_px: float, edge: int) -> None:
    _, features = across(path, classes, west_px, edge)
    groups = flood(classes)
    assert len(features) == len(groups)
    if features:
        require_valid(path)
    by_first = {row * classes.shape[1] + col + 1: group for group in groups for row, col in [min(group)]}
    for feature in features:
        polygons, group = polygons_of(feature), by_first[feature["id"]]
        for rings in polygons:
            lons = np.concatenate(rings)[:, 0]
            assert -180 <= lons.min() < lons.max() <= 180
            for number, ring in enumerate(rings):
                assert (ring[0] == ring[-1]).all()
                assert (np.abs(np.diff(ring, axis=0)).max(axis=1) > 0).all()
                assert (signed_area(ring) > 0) == (number == 0)
        assert sum(signed_area(ring) for rings in polygons for ring in rings) == len(group) * STEP**2
        wanted = np.zeros(classes.shape, int)
        wanted[tuple(zip(*group, strict=True))] = 1
        np.testing.assert_array_equal(
            burnt(polygons, classes.shape, west_px), wanted.repeat(FINER, axis=0).repeat(FINER, axis=1)
        )


@settings(max_examples=120)
@given(classes=speckled(), west_quarters=st.integers(-4, 84), edge=st.sampled_from([180, -180]))
def test_polygons_that_are_cut_cover_the_same_pixels_once_and_are_wound_right(
    path: Path, classes: np.ndarray, west_quarters: int, edge: int
) -> None:
    require_cut(path, classes, west_quarters / 4, edge)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_odd_shapes_are_cut_wherever_the_line_runs(path: Path, shape: str) -> None:
    classes = drawn_as(SHAPES[shape])
    for west_halves, edge in itertools.product(range(2 * classes.shape[1] + 1), (180, -180)):
        require_cut(path, classes, west_halves / 2, edge)


def west_of(line: float, corners: list[tuple[float, float]]) -> float:
    """Square degrees of a convex pixel west of a meridian, by clipping its edges one by one."""
    kept: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in itertools.pairwise([*corners, corners[0]]):
        if x0 <= line:
            kept.append((x0, y0))
        if (x0 < line) != (x1 < line) and x0 != x1:
            kept.append((line, y0 + (line - x0) / (x1 - x0) * (y1 - y0)))
    return abs(signed_area(np.array([*kept, kept[0]]))) if kept else 0.0


@settings(max_examples=100)
@given(
    classes=speckled(),
    degrees=st.one_of(st.sampled_from([0, 45, 90, 135, 225]), st.floats(0, 360)),
    corner=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    edge=st.sampled_from([180, -180]),
)
def test_each_side_of_the_line_has_its_share_where_it_runs_through_corners_of_turned_pixels(
    path: Path, classes: np.ndarray, degrees: float, corner: tuple[int, int], edge: int
) -> None:
    """Where outlines meet on the line itself, the order of those that cross it there decides."""
    a, d = 0.1 * np.cos(np.radians(degrees)), 0.1 * np.sin(np.radians(degrees))
    col, row = corner
    transform = Affine(a, d, edge - (a * col + d * row), d, -a, 50 - (d * col - a * row))
    fed(path, layers_of(classes), crs=CRS.from_epsg(4326), transform=transform)
    first = {row * classes.shape[1] + col + 1: group for group in flood(classes) for row, col in [min(group)]}
    if first:
        require_valid(path)
    for feature in json.loads(path.read_text())["features"]:
        polygons, group = polygons_of(feature), first[feature["id"]]
        for rings in polygons:
            assert np.abs(np.concatenate(rings)[:, 0]).max() <= 180
            assert [signed_area(ring) > 0 for ring in rings] == [True] + [False] * (len(rings) - 1)
        found = dict.fromkeys((True, False), 0.0)
        for rings in polygons:
            found[bool(rings[0][:, 0].mean() > 0)] += sum(map(signed_area, rings))
        x, y, corners = transform.c, transform.f, [(0, 0), (1, 0), (1, 1), (0, 1)]
        west = sum(
            west_of(edge, [(x + a * (c + i) + d * (r + j), y + d * (c + i) - a * (r + j)) for i, j in corners])
            for r, c in group
        )
        assert found[True] == pytest.approx(west, abs=1e-6)
        assert found[False] == pytest.approx(len(group) * 0.01 - west, abs=1e-6)


def test_a_long_edge_on_the_line_is_no_polygon_beyond_it(path: Path) -> None:
    classes = np.zeros((300, 6), "uint8")
    classes[:, :3] = classes[:20] = 1
    _, (feature,) = across(path, classes, 3, 180)
    require_valid(path)
    polygons = polygons_of(feature)
    assert sorted(round(signed_area(rings[0]) / STEP**2) for rings in polygons) == [60, 900]


@pytest.mark.parametrize("edge", [180, -180])
def test_an_area_is_that_of_the_whole_landslide_and_counted_once(path: Path, edge: int) -> None:
    classes = drawn_as(SHAPES["rings within rings"])
    summary, features = across(path, classes, 2.5, edge)
    elsewhere, unmoved = across(path, classes, 500, edge)
    assert len(features) == len(unmoved) == summary.count
    assert {feature["geometry"]["type"] for feature in features} == {"Polygon", "MultiPolygon"}
    for one, other in zip(features, unmoved, strict=True):
        assert one["properties"] == other["properties"] | {"area_m2": pytest.approx(other["properties"]["area_m2"])}
    assert summary.area_m2 == pytest.approx(elsewhere.area_m2)


def test_a_turned_scene_is_cut_on_the_line_itself(path: Path) -> None:
    """In UTM the line runs across pixels; both sides have the same points on it, and nothing lies between them."""
    x, y = (values[0] for values in rasterio.warp.transform("EPSG:4326", "EPSG:32701", [-180.0], [-18.0]))
    classes = np.zeros((50, 60), "uint8")
    classes[5:45, 5:55] = 1
    classes[10:20, 10:50] = classes[30:40, 25:35] = 0
    turned = Affine(8, 6, x - 400, 6, -8, y)
    summary = fed(path, layers_of(classes), crs=CRS.from_epsg(32701), transform=turned)
    (feature,) = json.loads(path.read_text())["features"]
    polygons = polygons_of(feature)
    on_line = [
        sorted({lat for rings in polygons for ring in rings for lon, lat in ring.tolist() if lon == line})
        for line in (180, -180)
    ]
    assert on_line[0] == on_line[1]
    assert len(on_line[0]) % 2 == 0
    degrees2 = sum(signed_area(ring) for rings in polygons for ring in rings)
    metres2 = degrees2 * (111_320 * np.cos(np.radians(18))) * 110_660
    assert metres2 == pytest.approx(summary.area_m2, rel=5e-3)


def test_gdal_reads_both_parts_as_one_feature_where_they_lie(path: Path) -> None:
    across(path, np.ones((4, 6), "uint8"), 2.5, 180)
    info = pyogrio.read_info(path)
    assert (info["features"], info["geometry_type"], info["crs"]) == (1, "MultiPolygon", "EPSG:4326")
    west, south, east, north = pyogrio.read_bounds(path)[1][:, 0]
    assert (west, south, east, north) == (-180, 59.5, 180, 60)


def test_a_scene_around_the_whole_earth_and_more_stays_in_range(path: Path) -> None:
    transform = Affine(0.5, 0, -200, 0, -0.5, 50)
    fed(path, layers_of(np.ones((8, 800), "uint8")), crs=CRS.from_epsg(4326), transform=transform)
    (feature,) = json.loads(path.read_text())["features"]
    polygons = polygons_of(feature)
    assert all(np.abs(ring[:, 0]).max() <= 180 for rings in polygons for ring in rings)
    assert sum(signed_area(ring) for rings in polygons for ring in rings) == 400 * 4
