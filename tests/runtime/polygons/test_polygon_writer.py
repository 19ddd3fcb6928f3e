"""Polygons of a map against a slow flood fill and GDAL's own rasteriser."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from landslide_maps import (
    ROTATED,
    SHAPES,
    TRANSFORMS,
    UTM,
    blobs,
    burnt,
    drawn_as,
    fed,
    flood,
    layers_of,
    speckled,
    written,
)
from rasterio.crs import CRS
from rasterio.transform import Affine

from kda_edge.errors import OutputError, UsageError
from kda_edge.ground.ground import Frame
from kda_edge.runtime.polygons.connected_components import ComponentStream
from kda_edge.runtime.polygons.pixel_outlines import rings_of
from kda_edge.runtime.polygons.polygon_writer import PolygonSummary, PolygonWriter, facts_of


def signed(ring: list[list[float]]) -> float:
    x0, y0 = ring[0]
    return sum((ax - x0) * (by - y0) - (bx - x0) * (ay - y0) for (ax, ay), (bx, by) in itertools.pairwise(ring)) / 2


def require_polygons_of(layers: np.ndarray, folder: Path, cuts: tuple[int, ...]) -> None:
    classes, probability, qa = layers
    summary = fed(folder / "m.geojson", layers, cuts=cuts)
    features = json.loads((folder / "m.geojson").read_text())["features"]
    groups = sorted(flood(classes), key=lambda group: (max(group)[0], min(group)))
    assert [feature["id"] for feature in features] == [
        row * classes.shape[1] + col + 1 for row, col in (min(group) for group in groups)
    ]
    assert summary == PolygonSummary(count=len(groups), area_m2=None, area_px=int((classes == 1).sum()))
    for feature, group in zip(features, groups, strict=True):
        properties, rings = feature["properties"], feature["geometry"]["coordinates"]
        assert burnt(feature, classes.shape) == set(group)
        rows, cols = np.array(group).T
        assert properties["id"] == feature["id"]
        assert properties["area_px"] == len(group) == sum(map(signed, rings))
        assert properties["area_m2"] is None
        assert properties["mean_probability"] == pytest.approx(probability[rows, cols].mean() / 254, abs=6e-5)
        assert properties["max_probability"] == pytest.approx(probability[rows, cols].max() / 254, abs=6e-5)
        assert properties["qa_share"] == pytest.approx((qa[rows, cols] != 0).mean(), abs=6e-5)
        for number, ring in enumerate(rings):
            corners = [tuple(point) for point in ring[:-1]]
            assert ring[-1] == ring[0] == min(ring, key=lambda point: (point[1], point[0]))
            assert len(set(corners)) == len(corners)
            assert (signed(ring) > 0) == (number == 0)


@settings(max_examples=80, deadline=None)
@given(classes=speckled(), cuts=st.sets(st.integers(1, 19)))
def test_each_polygon_is_exactly_one_group_of_pixels_that_share_an_edge(
    tmp_path_factory: pytest.TempPathFactory, classes: np.ndarray, cuts: set[int]
) -> None:
    require_polygons_of(layers_of(classes, seed=classes.size), tmp_path_factory.mktemp("map"), tuple(cuts))


@pytest.mark.parametrize("cuts", [(), tuple(range(1, 20)), (3,)], ids=["whole", "row by row", "once"])
@pytest.mark.parametrize("name", SHAPES)
def test_landslides_that_meet_again_below_are_one_polygon(tmp_path: Path, name: str, cuts: tuple[int, ...]) -> None:
    require_polygons_of(layers_of(drawn_as(SHAPES[name])), tmp_path, cuts)


@settings(max_examples=30, deadline=None)
@given(classes=speckled(), cuts=st.sets(st.integers(1, 19), min_size=1), placed=st.booleans())
def test_the_bytes_do_not_depend_on_how_the_rows_are_cut(
    tmp_path_factory: pytest.TempPathFactory, classes: np.ndarray, cuts: set[int], placed: bool
) -> None:
    folder, layers = tmp_path_factory.mktemp("map"), layers_of(classes)
    where = {"crs": CRS.from_string(UTM), "transform": ROTATED} if placed else {}
    for suffix in (".geojson", ".gpkg"):
        whole, cut = folder / f"whole{suffix}", folder / f"cut{suffix}"
        assert fed(whole, layers, **where) == fed(cut, layers, cuts=tuple(cuts), **where)
        assert whole.read_bytes() == cut.read_bytes()


def test_neither_the_strips_within_nor_the_batches_change_what_comes_out() -> None:
    layers = layers_of(blobs((60, 47), seed=5, share=0.6))
    layers[0, 20:42] = 0  # whole strips without landslide, which are skipped

    def found(strip_px: int, most_corners: int) -> list[tuple[Any, ...]]:
        stream = ComponentStream(47, strip_px=strip_px)
        batches = [b for c in (*stream.add(layers), stream.finish()) for b in c.batches(most_corners=most_corners)]
        rings = [(ring.col, ring.row) for ring in map(rings_of, batches)]
        return [np.concatenate(part, axis=-1).tolist() for part in zip(*rings, strict=True)] + [
            np.concatenate([b.sums for b in batches], axis=1).tolist(),
            np.concatenate([b.first_pixel for b in batches]).tolist(),
        ]

    assert found(10**6, 10**6) == found(47 * 7, 100) == found(1, 1)


def test_a_polygon_is_in_the_file_as_soon_as_it_has_ended(tmp_path: Path) -> None:
    layers = np.zeros((3, 1200, 40), "uint8")
    layers[0, ::2, ::2] = 1
    path = tmp_path / "m.geojson"
    with PolygonWriter(path, Frame(1200, 40)) as writer:
        writer.add(layers[:, :600])
        early = path.read_text().count("Feature")
        writer.add(layers[:, 600:])
        assert writer.finish().count == 600 * 20
    assert 0.95 * 300 * 20 < early <= 300 * 20 + 1


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["north-up", "south-up", "rotated", "non-square", "mirrored"])
def test_rings_are_closed_simple_and_wound_as_rfc_7946_says(tmp_path: Path, transform: Affine) -> None:
    summary, collection = written(tmp_path, blobs((40, 50), seed=1), transform=transform)
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


def test_min_area_is_in_square_metres_and_ids_do_not_depend_on_it(tmp_path: Path) -> None:
    classes = np.zeros((20, 20), "uint8")
    classes[1, 1:3] = classes[5:8, 5:8] = classes[15, 1] = 1  # 2, 9 and 1 pixels of 0.25 m2
    everything, all_of_it = written(tmp_path, classes)
    some, part_of_it = written(tmp_path, classes, min_area=0.4)
    assert (everything.count, some.count, some.area_px) == (3, 2, 11)
    assert some.area_m2 == pytest.approx(11 * 0.25, rel=2e-3)
    assert {f["id"]: f["properties"]["area_px"] for f in all_of_it["features"]} == {22: 2, 106: 9, 302: 1}
    assert {f["id"]: f["properties"]["area_px"] for f in part_of_it["features"]} == {22: 2, 106: 9}


def test_min_area_is_in_pixels_where_there_is_no_crs(tmp_path: Path) -> None:
    classes = np.zeros((20, 20), "uint8")
    classes[1, 1:3] = classes[5:8, 5:8] = 1
    assert written(tmp_path, classes, crs=None, min_area=9)[0] == PolygonSummary(count=1, area_m2=None, area_px=9)


@pytest.mark.parametrize("min_area", [-1.0, math.nan])
def test_a_least_area_that_cannot_be_is_refused(tmp_path: Path, min_area: float) -> None:
    with pytest.raises(UsageError, match="least area"):
        written(tmp_path, np.ones((2, 2), "uint8"), min_area=min_area)
    assert list(tmp_path.iterdir()) == []


def test_a_map_without_landslides_gives_an_empty_collection(tmp_path: Path) -> None:
    summary, collection = written(tmp_path, np.zeros((5, 5), "uint8"))
    assert summary == PolygonSummary(count=0, area_m2=0.0, area_px=0)
    assert collection["features"] == []


def test_the_collection_carries_the_facts_of_the_map(tmp_path: Path) -> None:
    tags = {"threshold": "0.45", "model": "nano", "another": "left out"}
    _, collection = written(tmp_path, np.ones((2, 2), "uint8"), facts=facts_of(tags))
    assert collection["threshold"] == 0.45
    assert collection["model"] == "nano"
    assert "another" not in collection


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_a_full_disk_is_named(tmp_path: Path, suffix: str) -> None:
    resource = pytest.importorskip("resource", reason="the size of files is limited by a POSIX call")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    layers = layers_of(blobs((300, 300), seed=6))
    resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, hard))
    try:
        with pytest.raises(OutputError, match=rf"to {tmp_path} \(.+\); free some space"):
            fed(tmp_path / f"m{suffix}", layers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["m.shp", "m"])
def test_another_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.geojson or \.gpkg"):
        fed(tmp_path / name, layers_of(blobs((3, 3), seed=1)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_a_missing_folder_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match="no-such-folder"):
        fed(tmp_path / "no-such-folder" / f"m{suffix}", layers_of(blobs((2, 2), seed=1)))
