"""Where a raster holds data: every way to declare it against a loop over bands and pixels."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from declared_rasters import Declared, declared_rasters
from hypothesis import given, settings
from rasterio.windows import Window

from kda_edge.rasters.gdal_messages import STRICT
from kda_edge.rasters.strict_window import StrictBands, WindowPixels
from kda_edge.runtime.geo.gdal import open_raster

SIZE_HW = (40, 50)
RGB = Declared(SIZE_HW, 3, (1, 2, 3))


def found_in(declared: Declared, window: tuple[int, int, int, int] = (0, 40, 0, 50)) -> WindowPixels:
    """Write a raster, and read rows and columns of it."""
    with tempfile.TemporaryDirectory() as folder, rasterio.Env(**STRICT):
        path = declared.write(Path(folder))
        row0, row1, col0, col1 = window
        with open_raster(path) as dataset:
            strict = StrictBands(path, dataset, declared.chosen)
            found = strict.read(dataset, Window(col0, row0, col1 - col0, row1 - row0))
    assert isinstance(found, WindowPixels), found
    return found


def write(path: Path, image: np.ndarray, **profile: Any) -> None:
    count, height, width = image.shape
    size = {"count": count, "height": height, "width": width, "dtype": image.dtype}
    with open_raster(path, "w", driver="GTiff", **size, **profile) as dataset:
        dataset.write(image)


@settings(max_examples=250, deadline=None)
@given(declared_rasters(SIZE_HW))
def test_a_pixel_is_valid_where_all_chosen_bands_have_data_and_nothing_speaks_against_it(declared: Declared) -> None:
    """Tiling rule 12: bands x alpha x nodata x mask x pixel type x chosen bands x how the file is stored."""
    valid, partly_px = declared.truth()
    found = found_in(declared)
    np.testing.assert_array_equal(found.valid, valid)
    assert (0 if found.partly is None else found.partly.sum()) == partly_px
    chosen = [band - 1 for band in declared.chosen]
    np.testing.assert_array_equal(found.image[valid], declared.pixels()[chosen].transpose(1, 2, 0)[valid])
    np.testing.assert_array_equal(found_in(declared, (5, 38, 3, 41)).valid, valid[5:38, 3:41])


@pytest.mark.parametrize("top", [1, 254])
def test_the_fringe_of_an_alpha_band_is_data_down_to_1(top: int) -> None:
    declared = dataclasses.replace(RGB, count=6, alpha=(5,), levels=(7, top))
    alpha = declared.pixels()[4]
    assert {0, 1, 127, 255} <= set(alpha.ravel().tolist())
    np.testing.assert_array_equal(found_in(declared).valid, alpha > 0)


@pytest.mark.parametrize(
    ("nodata", "stored", "near"),
    [(-3.402823e38, np.finfo(np.float32).min, -3.402e38), (-9999.9, -9999.9, -9999.8), (1e-10, 1e-10, 0)],
)
def test_a_float_that_was_written_as_decimals_is_its_nodata_value(
    tmp_path: Path, nodata: float, stored: float, near: float
) -> None:
    """The first is the least float, as programs print it with seven digits."""
    image = np.full((3, 4, 4), 5, np.float32)
    image[:, 0, 0], image[1, 1, 1], image[:, 2, 2] = stored, stored, near
    path = tmp_path / "s.tif"
    write(path, image, nodata=nodata)
    with open_raster(path) as dataset:
        found = StrictBands(path, dataset, (1, 2, 3)).read_all(dataset)
    assert isinstance(found, WindowPixels)
    assert list(zip(*np.nonzero(~found.valid), strict=True)) == [(0, 0), (1, 1)]
    assert found.partly is not None
    assert list(zip(*np.nonzero(found.partly), strict=True)) == [(1, 1)]


@pytest.mark.parametrize("nodata", [-9999, 0.5, 300, float("nan"), float("inf")])
def test_a_nodata_value_that_the_pixel_type_can_not_hold_is_no_pixels(tmp_path: Path, nodata: float) -> None:
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, axis=0)
    with open_raster(
        tmp_path / "s.tif", "w", driver="GTiff", width=16, height=16, count=3, dtype="uint8", crs="EPSG:32647"
    ) as dataset:
        dataset.write(image)
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><NoDataValue>{nodata}</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">s.tif</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource>'
        "</VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path = tmp_path / "s.vrt"
    path.write_text(f'<VRTDataset rasterXSize="16" rasterYSize="16"><SRS>EPSG:32647</SRS>{bands}</VRTDataset>')
    with open_raster(path) as dataset:
        found = StrictBands(path, dataset, (1, 2, 3)).read_all(dataset)
    assert isinstance(found, WindowPixels)
    assert found.valid.all()


@pytest.mark.parametrize("height", [40, 2500], ids=["one block", "shown as a block a row"])
def test_black_ground_that_is_in_the_file_is_no_missing_block(tmp_path: Path, height: int) -> None:
    path = tmp_path / "s.tif"
    write(path, np.zeros((3, height, 30), np.uint8), blockysize=height, compress="deflate")
    with open_raster(path) as dataset:
        found = StrictBands(path, dataset, (1, 2, 3)).read_all(dataset)
    assert isinstance(found, WindowPixels)
    assert found.valid.all()


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("height", [40, 2500], ids=["one block", "shown as a block a row"])
def test_one_strip_that_was_never_written_is_no_ground(tmp_path: Path, height: int, interleave: str) -> None:
    path = tmp_path / "s.tif"
    profile = {"dtype": "uint8", "blockysize": height, "compress": "deflate", "SPARSE_OK": True}
    with open_raster(path, "w", driver="GTiff", width=30, height=height, count=3, interleave=interleave, **profile):
        pass
    with open_raster(path) as dataset:
        found = StrictBands(path, dataset, (1, 2, 3)).read_all(dataset)
    assert isinstance(found, list) or not found.valid.any()  # of a large strip that is not there, GDAL reads no row


def test_a_block_that_was_never_written_is_no_ground(tmp_path: Path) -> None:
    """A writer that was killed, or a sparse mosaic: GDAL gives black."""
    path = tmp_path / "s.tif"
    profile = {"dtype": "uint8", "tiled": True, "blockxsize": 32, "blockysize": 32, "SPARSE_OK": True}
    with open_raster(path, "w", driver="GTiff", width=96, height=64, count=3, **profile) as dataset:
        dataset.write(np.full((3, 32, 32), 9, np.uint8), window=Window(32, 32, 32, 32))
    with open_raster(path) as dataset:
        found = StrictBands(path, dataset, (1, 2, 3)).read_all(dataset)
    assert isinstance(found, WindowPixels)
    expected = np.zeros((64, 96), bool)
    expected[32:, 32:64] = True
    np.testing.assert_array_equal(found.valid, expected)
    assert found.partly is None
