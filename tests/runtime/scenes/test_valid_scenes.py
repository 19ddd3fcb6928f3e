"""From a file's declarations to the map's class 255: no landslide where the scene has no data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from declared_rasters import Declared, declared_rasters
from hypothesis import HealthCheck, given, settings
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from kda_edge.errors import SceneError
from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, SceneResult, Segmenter
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.runtime.runs.merge_shards import merge_shards
from kda_edge.runtime.runs.shards import Shard

NOTE = "{} px of the scene have data in one or two of the three bands only, and count as nodata"
RANGE = (-100, 1000)


def landslide_everywhere(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.9, np.float32)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Segmenter:
    return Segmenter(landslide_everywhere, make_manifest())


def layers_of(result: SceneResult) -> np.ndarray:
    with open_raster(result.map_path) as landslides:
        return np.asarray(landslides.read())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(declared_rasters())
def test_a_map_has_class_255_exactly_where_the_scene_has_no_data(segmenter: Segmenter, declared: Declared) -> None:
    """Tiling rule 11, whatever says so: nodata of one band or of all, alpha anywhere, masks, missing blocks, NaN."""
    valid, partly_px = declared.truth()
    with tempfile.TemporaryDirectory() as folder:
        path = declared.write(Path(folder))
        result = segmenter.predict_scene(path, options=SceneOptions(bands=declared.chosen, value_range=RANGE))
        classes, _, qa = layers_of(result)
    np.testing.assert_array_equal(classes, np.where(valid, 1, 255))
    np.testing.assert_array_equal(qa & 1 > 0, ~valid)
    assert result.valid_px == result.landslide_px == valid.sum()
    assert (NOTE.format(partly_px) in result.notes) == (partly_px > 0)
    assert result.failed_tiles == 0


def written(path: Path, image: np.ndarray, colors: list[ColorInterp] | None = None, **profile: Any) -> Path:
    """Write (C, H, W) pixels as drone software does."""
    count, height, width = image.shape
    place = {"crs": "EPSG:32647", "transform": Affine(1, 0, 469000, 0, -1, 3446000)}
    with open_raster(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=image.dtype, **place, **profile
    ) as dataset:
        if colors is not None:
            dataset.colorinterp = colors
        dataset.write(image)
    return path


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 120, (3, 128, 128)).astype(np.uint8)


def test_nodata_of_red_green_and_blue_is_not_made_up_for_by_infrared(
    segmenter: Segmenter, tmp_path: Path, rgb: np.ndarray
) -> None:
    image = np.concatenate([rgb, np.full((1, 128, 128), 90, np.uint8)])
    image[:3, :, :64] = 255
    result = segmenter.predict_scene(written(tmp_path / "s.tif", image, nodata=255, photometric="RGB", alpha="NO"))
    assert result.valid_px == result.landslide_px == 8192
    assert (layers_of(result)[0, :, :64] == 255).all()


@pytest.mark.parametrize("count", [4, 5, 6, 9])
def test_alpha_counts_at_any_place_among_any_number_of_bands(
    segmenter: Segmenter, tmp_path: Path, rgb: np.ndarray, count: int
) -> None:
    for at in range(3, count):
        image = np.concatenate([rgb, np.full((count - 3, 128, 128), 90, np.uint8)])
        image[at] = 255
        image[at, :, :64], image[at, :, 64:70] = 0, 1
        colors = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, *[ColorInterp.undefined] * (count - 3)]
        colors[at] = ColorInterp.alpha
        path = written(tmp_path / f"s{at}.tif", image, colors, photometric="RGB")
        result = segmenter.predict_scene(path, options=SceneOptions(bands=(1, 2, 3)))
        classes, _, qa = layers_of(result)
        np.testing.assert_array_equal(classes == 255, image[at] == 0)
        assert (qa[:, 64:70] == qa[:, 64:70] | 4).all(), "the fringe lies near nodata"


def test_an_alpha_band_is_no_colour(segmenter: Segmenter, tmp_path: Path, rgb: np.ndarray) -> None:
    image = np.concatenate([rgb, np.full((1, 128, 128), 255, np.uint8)])
    path = written(tmp_path / "s.tif", image, photometric="RGB", alpha="YES")
    with pytest.raises(SceneError, match=r"^band 4 of .*s\.tif is its alpha band, .*; choose others with --bands$"):
        segmenter.predict_scene(path, options=SceneOptions(bands=(1, 2, 4)))


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_one_band_without_data_spoils_a_pixel_and_is_told(segmenter: Segmenter, tmp_path: Path, dtype: str) -> None:
    """-9999 and NaN alike; counted once, however the run is cut, resampled or not."""
    image = np.full((3, 1100, 40), 50, dtype)
    image[1, 0:300, 0:10] = -9999 if dtype == "int16" else np.nan
    image[:, 600:700] = -9999
    path = written(tmp_path / "s.tif", image, nodata=-9999, blockysize=16)
    options = SceneOptions(value_range=RANGE)
    result = segmenter.predict_scene(path, options=options)
    assert result.valid_px == 1100 * 40 - 300 * 10 - 100 * 40
    assert NOTE.format(3000) in result.notes
    shards = [segmenter.predict_shard(path, Shard(number, 3), tmp_path / "o", options) for number in (1, 2, 3)]
    merged = merge_shards(path, [shard.rows_path for shard in shards], tmp_path / "o")
    assert NOTE.format(3000) in merged.notes
    assert merged.map_path.read_bytes() == result.map_path.read_bytes()
    for metres in (2.3, 0.7):
        resampled = segmenter.predict_scene(path, options=replace(options, resample=metres))
        assert NOTE.format(3000) in resampled.notes


def test_scale_and_offset_that_a_file_declares_are_told(segmenter: Segmenter, tmp_path: Path, rgb: np.ndarray) -> None:
    """Sentinel-2 from processing baseline 04.00 on: what is stored is 1000 too much."""
    path, anew = written(tmp_path / "s.tif", rgb), SceneOptions(overwrite=True)
    assert not any("declares" in note for note in segmenter.predict_scene(path, options=anew).notes)
    with open_raster(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001,) * 3, (-0.1,) * 3
    (note,) = [note for note in segmenter.predict_scene(path, options=anew).notes if "declares" in note]
    assert note.startswith("the file declares that a value is stored x 0.0001 - 0.1; the numbers stored were mapped")
    assert "--value-range counts in them" in note
    with open_raster(path, "r+") as dataset:
        dataset.offsets = (0, 0, -1000)
        dataset.scales = (1, 1, 1)
    (note,) = [note for note in segmenter.predict_scene(path, options=anew).notes if "declares" in note]
    assert "stored x 1 + 0, stored x 1 - 1000;" in note
