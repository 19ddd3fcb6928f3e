"""GeoPackage: GDAL's vector library and a parser of well-known binary against the GeoJSON of the same rows."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
from landslide_maps import NORTH_UP, UTM, blobs, fed, layers_of, parsed
from pyogrio.raw import read
from rasterio.crs import CRS

from kda_edge.ground.ground import Frame
from kda_edge.runtime.polygons.polygon_writer import PolygonWriter

FACTS = {"model": "nano 0123", "threshold": 0.45}
PLACED = {"crs": CRS.from_string(UTM), "transform": NORTH_UP}


@pytest.fixture(params=["lonlat", "pixels"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    layers, place = layers_of(blobs((40, 50), seed=1)), PLACED if request.param == "lonlat" else {}
    paths = tmp_path / "m.gpkg", tmp_path / "m.geojson"
    first, second = (fed(path, layers, facts=FACTS, cuts=(11, 30), **place) for path in paths)
    assert first == second
    return paths[0], json.loads(paths[1].read_text())


def test_gdal_reads_the_polygons_of_the_geojson(both: tuple[Path, dict[str, Any]]) -> None:
    path, collection = both
    meta, ids, geometry, columns = read(path, return_fids=True)
    features = {feature["id"]: feature for feature in collection["features"]}
    assert sorted(features) == ids.tolist()
    assert meta["geometry_type"] == "Polygon"
    assert meta["fields"].tolist() == ["area_m2", "area_px", "mean_probability", "max_probability", "qa_share"]
    for index, number in enumerate(ids.tolist()):
        feature = features[number]
        assert parsed(geometry[index]) == feature["geometry"]["coordinates"]
        for name, values in zip(meta["fields"], columns, strict=True):
            value = feature["properties"][name]
            assert np.isnan(values[index]) if value is None else values[index] == value


def test_the_layer_says_where_its_coordinates_lie_and_what_made_it(both: tuple[Path, dict[str, Any]]) -> None:
    path, collection = both
    info = pyogrio.read_info(path, layer="landslides")
    points = np.concatenate([np.array(ring) for f in collection["features"] for ring in f["geometry"]["coordinates"]])
    assert json.loads(info["layer_metadata"]["DESCRIPTION"]) == {
        "coordinate_system": collection["coordinate_system"],
        **FACTS,
    }
    assert (info["crs"] == "EPSG:4326") == (collection["coordinate_system"] == "EPSG:4326")
    assert info["total_bounds"] == (*points.min(axis=0), *points.max(axis=0))


def test_the_file_keeps_the_rules_of_the_standard(both: tuple[Path, dict[str, Any]]) -> None:
    """OGC 12-128r18: requirements 2 (format), 6 and 7 (integrity), 11 (systems), 13, 19 (header), 22, 25 (columns)."""
    path, collection = both
    system = 4326 if collection["coordinate_system"] == "EPSG:4326" else -1
    base = sqlite3.connect(path)
    assert base.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
    assert base.execute("PRAGMA user_version").fetchone() == (10300,)
    assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert base.execute("PRAGMA foreign_key_check").fetchall() == []
    assert base.execute("SELECT srs_id FROM gpkg_spatial_ref_sys ORDER BY srs_id").fetchall() == [(-1,), (0,), (4326,)]
    assert base.execute("SELECT table_name, data_type, srs_id FROM gpkg_contents").fetchall() == [
        ("landslides", "features", system)
    ]
    assert base.execute("SELECT * FROM gpkg_geometry_columns").fetchall() == [
        ("landslides", "geom", "POLYGON", system, 0, 0)
    ]
    for (blob,) in base.execute("SELECT geom FROM landslides"):
        magic, version, flags, srs_id, west, east, south, north = struct.unpack_from("<2sBBi4d", blob)
        assert (magic, version, flags, srs_id) == (b"GP", 0, 0b0011, system)
        outer = np.array(parsed(blob[40:])[0])
        assert (west, south, east, north) == (*outer.min(axis=0), *outer.max(axis=0))
    base.close()


def test_nothing_lies_beside_the_file_while_it_grows(tmp_path: Path) -> None:
    layers = np.zeros((3, 300, 400), "uint8")
    layers[0, ::2, ::2] = 1
    with PolygonWriter(tmp_path / "m.gpkg", Frame(300, 400)) as writer:
        writer.add(layers)
        assert [path.name for path in tmp_path.iterdir()] == ["m.gpkg"]
        writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["m.gpkg"]


def test_a_map_without_landslides_gives_an_empty_layer(tmp_path: Path) -> None:
    fed(tmp_path / "m.gpkg", np.zeros((3, 5, 5), "uint8"), **PLACED)
    info = pyogrio.read_info(tmp_path / "m.gpkg")
    assert (info["features"], info["crs"]) == (0, "EPSG:4326")


def test_what_lay_under_the_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.gpkg").write_bytes(b"something else")
    fed(tmp_path / "m.gpkg", layers_of(blobs((5, 5), seed=1)), **PLACED)
    assert pyogrio.read_info(tmp_path / "m.gpkg")["features"] > 0
