"""A DEFLATE block whose bytes changed is found by its check sum, at any byte, in any layout, and no other block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window

from kda_edge.rasters.deflate_blocks import DeflateBlocks
from kda_edge.runtime.geo.gdal import open_raster

HEIGHT, WIDTH = 100, 90
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 48},
    "tiles by band": {"tiled": True, "blockxsize": 32, "blockysize": 48, "interleave": "band"},
    "strips": {"blockysize": 7},
    "with a predictor": {"blockysize": 7, "predictor": 2},
    "in rows": {"blockysize": 1},
}


def written(path: Path, height: int = HEIGHT, kind: str = "uint8", **profile: Any) -> Path:
    rng = np.random.default_rng(0)
    size = {"height": height, "width": WIDTH, "count": 4, "dtype": kind, "photometric": "minisblack"}
    with open_raster(path, "w", driver="GTiff", **size, **({"compress": "deflate"} | profile)) as dataset:
        dataset.write(rng.integers(0, 256, (4, height, WIDTH), np.uint8).astype(kind))
    return path


def fault(path: Path, window: Window | None = None, bands: tuple[int, ...] = (4, 2, 2)) -> str | None:
    with open_raster(path) as dataset:
        return DeflateBlocks(path, dataset, bands).fault(dataset, window or Window(0, 0, dataset.width, dataset.height))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_changed_byte_spoils_the_windows_that_touch_its_block_and_no_others(tmp_path: Path, layout: str) -> None:
    path = written(tmp_path / "s.tif", **LAYOUTS[layout])
    good = path.read_bytes()
    assert fault(path) is None
    with open_raster(path) as dataset:
        height, width = dataset.block_shapes[0]
        row, col = 50 // height, 40 // width
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{fact}_{col}_{row}", "TIFF", 2)) for fact in ("OFFSET", "SIZE")
        )
    for at in (0, 1, 7, size // 3, size // 2, size - 5, size - 1):
        content = bytearray(good)
        content[offset + at] ^= 0x04
        path.write_bytes(content)
        assert fault(path) == f"block {col}_{row} does not agree with its check sum", at
        assert fault(path, Window(col * width, row * height, 1, 1)) is not None
        assert row == 0 or fault(path, Window(0, 0, WIDTH, row * height)) is None
        assert fault(path, Window(0, (row + 1) * height, WIDTH, HEIGHT - (row + 1) * height)) is None
        if layout == "tiles by band":
            assert fault(path, bands=(1, 3, 4)) is None


def test_a_strip_of_all_rows_is_one_block_however_gdal_shows_it(tmp_path: Path) -> None:
    path = written(tmp_path / "s.tif", height=2500, blockysize=2500)
    with open_raster(path) as dataset:
        assert dataset.block_shapes[0] == (1, WIDTH)
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1))
    assert fault(path) is None
    content = bytearray(path.read_bytes())
    content[offset + 200_000] ^= 1
    path.write_bytes(content)
    for row in (0, 1200, 2497):
        assert fault(path, Window(0, row, WIDTH, 3)) == "block 0_0 does not agree with its check sum"


@pytest.mark.parametrize("profile", [{"compress": "lzw"}, {"compress": "zstd"}, {"compress": None}], ids=str)
def test_blocks_without_such_a_check_sum_and_blocks_that_are_missing_pass(
    tmp_path: Path, profile: dict[str, Any]
) -> None:
    assert fault(written(tmp_path / "s.tif", **profile)) is None
    path = tmp_path / "sparse.tif"
    size = {"height": HEIGHT, "width": WIDTH, "count": 4, "dtype": "uint8", "compress": "deflate", "SPARSE_OK": True}
    open_raster(path, "w", driver="GTiff", **size, **LAYOUTS["tiles"]).close()
    assert fault(path) is None


def test_a_good_block_is_looked_at_once_and_again_when_the_file_has_changed(tmp_path: Path) -> None:
    path = written(tmp_path / "s.tif", blockysize=20)
    with open_raster(path) as dataset:
        first, second = (DeflateBlocks(path, dataset, (1, 2, 3)) for _ in range(2))
        assert first.fault(dataset, Window(0, 0, WIDTH, 40)) is None
        assert first._good is second._good
        assert first._good is not None
        assert len(first._good) == 2
    path.write_bytes(path.read_bytes()[:-1])
    assert fault(path) == "block 0_4 does not agree with its check sum"


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32", "uint32"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bands", [(1, 2, 3, 4), (4, 2, 1, 3), (3, 1, 2)])
def test_blocks_are_judged_alike_with_and_without_the_pixels_that_were_read(
    tmp_path: Path, kind: str, layout: str, bands: tuple[int, ...]
) -> None:
    path = written(tmp_path / "s.tif", kind=kind, **LAYOUTS[layout])
    good, window = path.read_bytes(), Window(0, 0, WIDTH, HEIGHT)
    with open_raster(path) as dataset:
        planes = dataset.read(list(bands), window=window)
        height, width = dataset.block_shapes[0]
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{fact}_{40 // width}_{50 // height}", "TIFF", bands[0]))
            for fact in ("OFFSET", "SIZE")
        )
        assert DeflateBlocks(path, dataset, bands).fault(dataset, window, planes) is None
    for at in (1, size // 2, size - 1):
        content = bytearray(good)
        content[offset + at] ^= 0x04
        path.write_bytes(content)
        with open_raster(path) as dataset:
            read = planes.copy()
            read[:, 48:52, 38:42] = 7  # as damage would have it
            assert DeflateBlocks(path, dataset, bands).fault(dataset, window, read) is not None


@pytest.mark.parametrize("layout", ["tiles", "tiles by band", "strips", "with a predictor"])
def test_pixels_that_have_a_block_s_check_sum_are_not_decoded_again(tmp_path: Path, layout: str) -> None:
    path = written(tmp_path / "s.tif", **LAYOUTS[layout])
    with open_raster(path) as dataset:
        height, width = dataset.block_shapes[0]
        col = 1 if width < WIDTH else 0
        window = Window(col * width, height, width, height)
        planes, name = dataset.read(window=window), f"{col}_1"
        for band in dataset.indexes if layout == "tiles by band" else (1,):
            offset = int(dataset.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", band))
            content = bytearray(path.read_bytes())
            content[offset + 2] ^= 0xFF  # nobody could decode it now
            path.write_bytes(content)
    with open_raster(path) as dataset:
        assert DeflateBlocks(path, dataset, (1, 2, 3, 4)).fault(dataset, window, planes) is None
        planes[2, 3, 4] ^= 1
        assert fault(path, window, (1, 2, 3, 4)) is None  # known to be good by now
    path.touch()
    with open_raster(path) as dataset:
        assert DeflateBlocks(path, dataset, (1, 2, 3, 4)).fault(dataset, window, planes) is not None
