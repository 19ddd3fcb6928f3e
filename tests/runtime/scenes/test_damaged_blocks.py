"""Blocks that a file can't give: marked as lost, and they alone, whatever decoder, window or order of reading."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.scenes.block_reader import BlockReader
from kda_edge.runtime.scenes.scene import Scene, open_scene

HEIGHT, WIDTH = 300, 200
TILES: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64}
LAYOUTS: dict[str, dict[str, Any]] = {
    "deflate": {**TILES, "compress": "deflate"},
    "deflate by band": {**TILES, "compress": "deflate", "interleave": "band"},
    "lzw strips": {"blockysize": 16, "compress": "lzw"},
    "zstd": {**TILES, "compress": "zstd"},
    "webp": {**TILES, "compress": "webp"},
    "jpeg tiles": {**TILES, "compress": "jpeg", "photometric": "ycbcr"},
    "jpeg strips": {"blockysize": 16, "compress": "jpeg", "photometric": "ycbcr"},
}
END_OF_IMAGE = b"\xff\xd9"


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)


def damage(path: Path, block: tuple[int, int], filler: bytes, band: int = 2, *, where: slice = slice(None)) -> slice:
    """Overwrite a block, or a part of its bytes; return the rows and columns that it covers as a pair of slices."""
    row, col = block
    with open_raster(path) as dataset:
        height, width = dataset.block_shapes[band - 1]
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{fact}_{col}_{row}", "TIFF", band)) for fact in ("OFFSET", "SIZE")
        )
    content = bytearray(path.read_bytes())
    inside = range(offset, offset + size)[where]
    content[inside.start : inside.stop] = (filler * len(inside))[: len(inside)]
    path.write_bytes(bytes(content))
    return np.s_[row * height : (row + 1) * height, col * width : (col + 1) * width]  # type: ignore[return-value]


@contextmanager
def opened(path: Path) -> Iterator[Scene]:
    with gdal_session(), open_scene(path, InputContract()) as scene:
        yield scene


def lost_of(path: Path, window: tuple[int, int, int, int] = (0, HEIGHT, 0, WIDTH)) -> np.ndarray:
    with opened(path) as scene:
        lost = scene.read(*window).lost
    return np.zeros((window[1] - window[0], window[3] - window[2]), bool) if lost is None else lost


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_block_of_rubbish_is_lost_and_every_other_pixel_is_the_files(
    tmp_path: Path, scene_at: Callable[..., Any], layout: str
) -> None:
    path = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS[layout]).path
    with rasterio.open(path) as dataset:
        before = dataset.read().transpose(1, 2, 0)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    for block in ((1, 0), (2, 0)):
        expected[damage(path, block, b"\xff")] = True
    with opened(path) as scene:
        image, valid, lost = scene.read(0, HEIGHT, 0, WIDTH)
        assert lost is not None
        np.testing.assert_array_equal(lost, expected)
        np.testing.assert_array_equal(valid, ~expected)
        np.testing.assert_array_equal(image[~expected], before[~expected])
        assert not image[expected].any()
        assert scene.warnings


@pytest.mark.parametrize("layout", ["jpeg tiles", "jpeg strips"])
def test_a_jpeg_block_that_ends_too_early_is_lost_though_the_decoder_only_warns(
    tmp_path: Path, scene_at: Callable[..., Any], layout: str
) -> None:
    """It fills the rest with grey, and GDAL's cache gives the grey again without a word: read twice, to be sure."""
    path = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS[layout]).path
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[damage(path, (2, 0), END_OF_IMAGE, where=slice(1000, 1040))] = True
    with opened(path) as scene:
        for row0, row1 in ((0, HEIGHT), (0, HEIGHT), (20, 60)):
            lost = scene.read(row0, row1, 0, WIDTH).lost
            if lost is None:
                lost = np.zeros((row1 - row0, WIDTH), bool)
            np.testing.assert_array_equal(lost, expected[row0:row1])
        assert any("premature end of data segment" in warning for warning in scene.warnings)


@pytest.mark.parametrize("layout", ["deflate", "jpeg tiles", "lzw strips"])
def test_what_is_lost_depends_on_the_file_alone(tmp_path: Path, scene_at: Callable[..., Any], layout: str) -> None:
    """Tiling rule 23: whatever windows are read, in whatever order, from whatever handle."""
    path = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS[layout]).path
    for block in ((0, 0), (3, 0)):
        damage(path, block, b"\xff\xd9", where=slice(100, 200))
    whole = lost_of(path)
    assert whole.any()
    rng = np.random.default_rng(3)
    with opened(path) as scene:
        for _ in range(25):
            (row0, row1), (col0, col1) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in (HEIGHT, WIDTH))
            lost = scene.read(row0, row1, col0, col1).lost
            here = whole[row0:row1, col0:col1]
            assert here.any() if lost is not None and lost.any() else not here.any()
            if lost is not None:
                np.testing.assert_array_equal(lost, here)


@pytest.mark.parametrize(("name", "driver"), [("s.jpg", "JPEG"), ("s.png", "PNG")])
def test_a_damaged_picture_is_refused_as_a_whole(
    tmp_path: Path, scene_at: Callable[..., Any], name: str, driver: str
) -> None:
    """Nobody knows where what was made up begins: codes are out of step long before a decoder notices."""
    path = scene_at(tmp_path / name, noise(), driver=driver, crs=None, transform=None).path
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = END_OF_IMAGE * 20
    path.write_bytes(bytes(content))
    with pytest.raises(SceneError, match=rf"{name} is not whole \(.*\); copy it again from its source"):
        lost_of(path)


def test_a_picture_that_is_damaged_while_it_is_mapped_gives_no_made_up_pixel(
    tmp_path: Path, scene_at: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What lies below the damage is lost where a file is decoded from its top."""
    caplog.set_level(logging.INFO, "kda_edge.runtime.scenes.block_reader")
    path = scene_at(tmp_path / "s.jpg", noise(), driver="JPEG", crs=None, transform=None).path
    with opened(path) as scene:
        before = cut_in_two(path)
        image, _, lost = scene.read(0, HEIGHT, 0, WIDTH)
        assert lost is not None
        first = int(np.flatnonzero(lost.any(axis=1))[0])
        assert HEIGHT // 3 < first < HEIGHT * 2 // 3
        assert lost[first:].all()
        np.testing.assert_array_equal(image[:first], before[:first])
        assert sum("can't be read" in message for message in caplog.messages) == 4  # the window and the row, twice each


def cut_in_two(path: Path) -> np.ndarray:
    """Damage the middle of a file; return the pixels that it held."""
    with open_raster(path) as dataset:
        before = dataset.read().transpose(1, 2, 0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = END_OF_IMAGE * 20
    path.write_bytes(bytes(content))
    return np.asarray(before)


@pytest.mark.parametrize("mask", ["internal", "sidecar"])
def test_pixels_whose_mask_is_damaged_are_lost(tmp_path: Path, scene_at: Callable[..., Any], mask: str) -> None:
    """Nobody can know whether they are valid."""
    valid = np.random.default_rng(1).random((HEIGHT, WIDTH)) < 0.5
    path = scene_at(tmp_path / "s.tif", noise(), valid=valid, mask=mask, **LAYOUTS["deflate"]).path
    masked = path if mask == "internal" else path.with_name("s.tif.msk")
    content = bytearray(masked.read_bytes())
    compressed = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\x78\x9c"]
    start = compressed[-1] if mask == "internal" else compressed[len(compressed) // 2]
    content[start : start + 64] = b"\xff" * 64
    masked.write_bytes(bytes(content))
    with opened(path) as scene:
        image, found, lost = scene.read(0, HEIGHT, 0, WIDTH)
    assert lost is not None
    assert lost.any()
    assert not lost.all()
    np.testing.assert_array_equal(found, valid & ~lost)
    np.testing.assert_array_equal(image[~lost], noise()[~lost])


def test_a_file_of_which_nothing_can_be_read_is_refused(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    path = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS["deflate"]).path
    for row in range(5):
        for col in range(4):
            damage(path, (row, col), b"\xff")
    with pytest.raises(SceneError, match=r"nothing of .*s\.tif can be read .* copy it again"):
        lost_of(path, (0, 64, 0, WIDTH))


def test_a_scene_whose_first_rows_are_lost_is_no_lost_scene(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    path = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS["lzw strips"]).path
    for row in range(4):
        damage(path, (row, 0), b"\xff")
    assert lost_of(path, (0, 64, 0, WIDTH)).all()


def test_a_file_that_is_gone_after_a_failure_ends_the_run(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    path = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS["deflate"]).path
    damage(path, (1, 0), b"\xff")
    with opened(path) as scene:
        scene.read(0, 64, 0, WIDTH)
        path.unlink()
        with pytest.raises(SceneError, match="bring it back"):
            scene.read(64, 128, 0, WIDTH)


@dataclass
class Flaky:
    """A dataset whose reads fail in turn: True fails."""

    real: Any
    fails: list[bool]
    reads: list[tuple[float, float]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def read(self, bands: list[int], window: Window) -> np.ndarray:
        self.reads.append((window.row_off, window.height))
        if self.fails and self.fails.pop(0):
            raise rasterio.errors.RasterioIOError("a loose cable")
        return np.asarray(self.real.read(bands, window=window))


def test_a_read_that_fails_once_costs_nothing(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    file = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS["deflate"])
    with gdal_session():
        reader = BlockReader(file.path, Flaky(open_raster(file.path), [True]), (1, 2, 3))
        image, valid, lost = reader.read(0, HEIGHT, 0, WIDTH)
        reader.close()
    np.testing.assert_array_equal(image, file.image)
    assert valid.all()
    assert lost is None
    assert reader.warnings == []


def test_a_lost_block_is_not_asked_for_again(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    path = scene_at(tmp_path / "s.tif", noise(), **LAYOUTS["lzw strips"]).path
    damage(path, (2, 0), b"\xff")
    with gdal_session():
        reader = BlockReader(path, open_raster(path), (1, 2, 3))
        reader.read(0, 64, 0, WIDTH)
        flaky = Flaky(reader._dataset, [])
        reader._dataset = flaky
        reader.read(0, 64, 0, WIDTH)
        reader.read(32, 48, 0, WIDTH)
        reader.close()
    assert flaky.reads == [(0, 16), (16, 16), (48, 16)]
