"""Quicklooks from end to end: the map of the decimated scene, which says in each of its files what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from fake_web_server import WebServer
from places import BUNDLED
from rasterio.enums import Resampling
from rasterio.transform import Affine

from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.runtime.outputs.legend import STRIP_PX

QUICK = SceneOptions(quicklook=True)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


def blurred(tiles: np.ndarray) -> np.ndarray:
    """A model that looks around."""
    return np.stack([cv2.blur(tile[0], (9, 9)) for tile in tiles])[:, None] / np.float32(255)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Segmenter:
    return Segmenter(blurred, make_manifest())


def ground(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft noise, around the threshold in some places."""
    small = np.random.default_rng(seed).integers(1, 256, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)).clip(1, 255)


@pytest.fixture
def path(tmp_path: Path, scene_at: Callable[..., Any]) -> Path:
    """A scene of 800 x 1001 px, nodata at its left."""
    valid = np.mgrid[:800, :1001][1] >= 130
    return Path(scene_at(tmp_path / "s.tif", ground(800, 1001), valid=valid, mask="nodata", **TILED).path)


def decimated(path: Path, out: Path, resampling: Resampling | None) -> Path:
    """The scene at a quarter of its resolution: an overview, or resampled as floats and rounded."""
    options = {"OVERVIEW_LEVEL": 1} if resampling is None else {}
    with rasterio.open(path, **options) as dataset:
        shape = dataset.shape if resampling is None else tuple(side // 4 for side in dataset.shape)
        profile = dataset.profile
        pixels = dataset.read(out_dtype="float64") if resampling is None else dataset.read().astype(np.float64)
    with rasterio.open(path) as dataset:
        a, b, c, d, e, f = dataset.transform[:6]
    if resampling is not None:
        with (
            rasterio.MemoryFile() as memory,
            memory.open(**profile | {"dtype": "float64", "driver": "GTiff"}) as floats,
        ):
            floats.write(pixels)
            pixels = floats.read(out_shape=(len(pixels), *shape), resampling=resampling)
    profile |= {"height": shape[0], "width": shape[1], "transform": Affine(a * 4, b * 4, c, d * 4, e * 4, f)}
    with rasterio.open(out, "w", **profile) as dataset:
        dataset.write(np.rint(pixels).astype(profile["dtype"]))
    return out


def layers(map_path: Path) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    with rasterio.open(map_path) as dataset:
        return dataset.read(), dataset.dataset_mask(), dataset.transform, dataset.crs


def test_the_bundled_students_quicklook_is_its_map_of_the_decimated_example(tmp_path: Path) -> None:
    """And a fifteenth of the tiles."""
    path = BUNDLED / "example_scene.tif"
    with Segmenter.open(engine="cpu") as segmenter:
        found = segmenter.predict_scene(path, tmp_path, quicklook=True)
        small = decimated(path, tmp_path / "small.tif", Resampling.average)
        expected = segmenter.predict_scene(small, tmp_path / "small")
        full = segmenter.predict_scene(path, tmp_path)
    for one, other in zip(layers(found.map_path), layers(expected.map_path), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (found.landslide_px, found.area_m2) == (expected.landslide_px, expected.area_m2)
    assert found.landslide_px > 500
    one, other = (json.loads(result.polygons_path.read_text())["features"] for result in (found, expected))
    assert one == other
    assert (found.tiles, full.tiles) == (1, 15)
    with rasterio.open(path) as scene, rasterio.open(found.map_path) as quick:
        assert tuple(quick.bounds) == pytest.approx(tuple(scene.bounds), rel=1e-15)


@pytest.mark.parametrize("own", [False, True], ids=["means", "overview"])
def test_a_quicklook_is_the_map_of_the_scene_at_a_quarter_of_its_resolution(
    tmp_path: Path, scene_at: Callable[..., Any], segmenter: Segmenter, own: bool
) -> None:
    path = scene_at(tmp_path / "s.tif", ground(800, 1000), **TILED).path
    if own:
        with open_raster(path, "r+") as dataset:
            dataset.build_overviews([2, 4], Resampling.cubic)
    found = segmenter.predict_scene(path, tmp_path / "maps", QUICK)
    small = decimated(path, tmp_path / "small.tif", None if own else Resampling.average)
    expected = segmenter.predict_scene(small, tmp_path / "maps")
    for one, other in zip(layers(found.map_path), layers(expected.map_path), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (found.height_px, found.width_px, found.valid_px) == (200, 250, 200 * 250)
    assert 0.1 < found.landslide_px / found.valid_px < 0.9
    picture, plain = (cv2.imread(str(result.picture_path)) for result in (found, expected))
    assert picture is not None
    assert plain is not None
    np.testing.assert_array_equal(picture[:-STRIP_PX, : plain.shape[1]], plain[:-STRIP_PX])
    assert found.tiles * 10 < segmenter.predict_scene(path, tmp_path / "full").tiles


def test_a_quicklook_says_so_in_the_map_the_polygons_the_picture_the_json_and_to_the_reader(
    path: Path, make_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(make_model(1 / 255, 0.0))]
    assert main([str(path), *model, "--quicklook", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main([str(path), *model, "--json"]) == 0
    full = json.loads(capsys.readouterr().out)
    assert (told["quicklook"], full["quicklook"]) == (True, False)
    names = [f"s_landslide_quicklook.{suffix}" for suffix in ("tif", "geojson", "png")]
    assert [Path(told[key]).name for key in ("map", "polygons_file", "picture")] == names
    words = "1/4 of the scene's resolution, from means of 4 x 4 px"
    with rasterio.open(told["map"]) as quick, rasterio.open(full["map"]) as whole:
        assert quick.tags()["quicklook"] == words
        assert quick.tags().keys() - whole.tags().keys() == {"quicklook"}
    assert json.loads(Path(told["polygons_file"]).read_text())["quicklook"] == words
    assert "quicklook" not in json.loads(Path(full["polygons_file"]).read_text())
    assert told["notes"][0].startswith("a quicklook at a quarter of the resolution, from means of 4 x 4 px: ")
    quick, whole = (cv2.imread(answer["picture"], cv2.IMREAD_GRAYSCALE) for answer in (told, full))
    assert quick is not None
    assert whole is not None
    words_px = (quick[-STRIP_PX:, 16:218] < 200).any(axis=0)  # where the full map's legend has its swatch
    assert np.diff(np.flatnonzero(words_px)).max() < 12  # letters, close to each other
    assert not np.array_equal(quick[-STRIP_PX:, :218], whole[-STRIP_PX:, :218])
    assert main([str(path), *model, "--quicklook"]) == 0
    assert "; a quicklook at a quarter of the resolution" in capsys.readouterr().out


def test_without_a_place_polygons_count_in_pixels_of_the_quicklook_and_a_note_says_so(
    tmp_path: Path, scene_at: Callable[..., Any], make_manifest: Callable[..., Manifest]
) -> None:
    image = np.full((160, 200, 3), 10, np.uint8)
    image[40:80, 100:140] = 250
    path = scene_at(tmp_path / "s.tif", image, crs=None, transform=None).path
    red = Segmenter(lambda tiles: tiles[:, :1] / np.float32(255), make_manifest())
    result = red.predict_scene(path, quicklook=True)
    (feature,) = json.loads(result.polygons_path.read_text())["features"]
    corners = np.array(feature["geometry"]["coordinates"][0])
    assert (*corners.min(axis=0), *corners.max(axis=0)) == (25, 10, 35, 20)
    assert any("pixel coordinates of the quicklook, 4 px of the scene each" in note for note in result.notes)
    full = red.predict_scene(path)
    assert not any("quicklook" in note for note in full.notes)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "www").mkdir()
    with WebServer(tmp_path / "www") as running:
        yield running


def test_data_in_some_bands_only_is_counted_in_pixels_that_were_read_each_once(
    tmp_path: Path, scene_at: Callable[..., Any], segmenter: Segmenter
) -> None:
    image = ground(800, 1000)
    image[100:150, 300:360, 1] = 0
    path = scene_at(tmp_path / "s.tif", image, nodata=0, **TILED).path
    result = segmenter.predict_scene(path, quicklook=True)
    assert any(note.startswith("3000 px of the scene have data in one or two") for note in result.notes)
    with open_raster(path, "r+") as dataset:
        dataset.build_overviews([4], Resampling.nearest)
    result = segmenter.predict_scene(path, options=SceneOptions(quicklook=True, overwrite=True))
    with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
        partly_px = int((overview.read(2) == 0).sum())
    assert 150 <= partly_px <= 210
    assert any(note.startswith(f"{partly_px} px of the overview have data in one") for note in result.notes)


@pytest.mark.parametrize(("own", "share"), [(True, 0.25), (False, 1.5)], ids=["overview", "means"])
def test_of_a_scene_at_an_address_its_overview_is_fetched_or_each_pixel_once(
    tmp_path: Path,
    server: WebServer,
    scene_at: Callable[..., Any],
    make_model: Callable[..., Path],
    own: bool,
    share: float,
) -> None:
    noise = np.random.default_rng(0).integers(1, 256, (1024, 1024, 3), np.uint8)
    path = scene_at(tmp_path / "www" / "s.tif", noise, **TILED).path
    pixels_bytes = path.stat().st_size
    with open_raster(path, "r+") as dataset:
        dataset.build_overviews([2, 4] if own else [2], Resampling.average)
    words = ["--quicklook", "-q", "--model", str(make_model(1 / 255, 0.0))]
    assert main([str(path), *words, "-o", str(tmp_path / "here")]) == 0
    assert main([server.url("s.tif"), *words, "-o", str(tmp_path / "there")]) == 0
    name = "s_landslide_quicklook.tif"
    np.testing.assert_array_equal(layers(tmp_path / "here" / name)[0], layers(tmp_path / "there" / name)[0])
    asked = [request for request in server.requests() if (request["method"], request["path"]) == ("GET", "/s.tif")]
    ranges = [request["headers"]["Range"].removeprefix("bytes=").split("-") for request in asked]
    assert sum(int(last) + 1 - int(first) for first, last in ranges) < pixels_bytes * share
