"""Runs that end early, and scenes that are damaged or of another size on the ground: what is said of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from kda_edge.errors import EngineError, SceneError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.outputs.legend import NODATA
from kda_edge.runtime.scenes.scene import open_scene

JPEG = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "jpeg", "photometric": "ycbcr"}


def red(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / 255


def hurt(path: Path, row: int, col: int) -> None:
    """Have a JPEG block end too early: its decoder warns and fills the rest with grey."""
    with open_raster(path) as dataset:
        offset = int(dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", 1))
    content = bytearray(path.read_bytes())
    content[offset + 900 : offset + 940] = b"\xff\xd9" * 20
    path.write_bytes(bytes(content))


def test_a_damaged_block_is_unknown_in_the_map_and_grey_in_the_picture_and_the_rest_is_mapped(
    tmp_path: Path, scene_at: Callable[..., Any], make_manifest: Callable[..., Manifest]
) -> None:
    """Tiling rule 19: never background."""
    noise = np.random.default_rng(0).integers(1, 100, (256, 320, 3), np.uint8)
    path = scene_at(tmp_path / "s.tif", noise, **JPEG).path
    segmenter = Segmenter(red, make_manifest())
    whole = segmenter.predict_scene(path, tmp_path / "whole")
    hurt(path, 1, 2)
    part = segmenter.predict_scene(path, tmp_path / "part")
    assert whole.failed_tiles == 0
    assert part.failed_tiles > 0
    assert any("premature end of data segment" in note for note in part.notes)
    with rasterio.open(whole.map_path) as before, rasterio.open(part.map_path) as after:
        expected, found = before.read(), after.read()
    lost = np.zeros((256, 320), bool)
    lost[64:128, 128:192] = True
    assert (found[:2, lost] == 255).all()
    assert (found[2, lost] & 8).all()
    assert not (found[2, lost] & 1).any()
    far = np.ones_like(lost)
    far[64 - 32 : 128 + 32, 128 - 32 : 192 + 32] = False  # no tile of 32 px that touches the block lies there
    np.testing.assert_array_equal(found[:, far], expected[:, far])
    picture = cv2.imread(str(part.picture_path))
    assert picture is not None
    grey = (picture[: 256 * 4, : 320 * 4] == NODATA[0]).all(axis=2)  # four times larger
    np.testing.assert_array_equal(grey, np.kron(found[0] == 255, np.ones((4, 4), bool)))


@pytest.fixture
def fine_scene(tmp_path: Path, scene_at: Callable[..., Any]) -> Path:
    """A quarter of a metre a pixel, a bright square of 100 m2 in it."""
    image = np.full((403, 501, 3), 40, np.uint8)
    image[200:240, 120:160] = 250
    transform = Affine(0.25, 0, 469205.25, 0, -0.25, 3446192.5)
    return Path(scene_at(tmp_path / "fine.tif", image, transform=transform).path)


def test_a_resampled_scene_has_a_map_at_the_trained_size_that_covers_the_same_ground(
    fine_scene: Path, make_manifest: Callable[..., Manifest]
) -> None:
    """Tiling rule 15."""
    segmenter = Segmenter(red, make_manifest(gsd_m=(1.0, 4.0)))
    result = segmenter.predict_scene(fine_scene, options=SceneOptions(resample="trained"))
    assert (result.height_px, result.width_px) == (101, 126)
    with rasterio.open(result.map_path) as landslides:
        assert landslides.transform[:6] == (1.0, 0, 469205.25, 0, -1.0, 3446192.5)
        classes = landslides.read(1)
    np.testing.assert_array_equal(np.argwhere(classes == 1).min(axis=0), [50, 30])
    np.testing.assert_array_equal(np.argwhere(classes == 1).max(axis=0), [59, 39])
    assert result.area_m2 == pytest.approx(100, rel=5e-3)  # the grid's square metres, off the central meridian
    assert "the scene was read at 1 m instead of 0.25 m a pixel, and so is its map" in result.notes


def test_a_scene_far_from_the_trained_size_leaves_nothing_until_it_is_asked_for(
    tmp_path: Path,
    fine_scene: Path,
    make_model: Callable[..., Path],
    leftovers: Callable[[], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ["--model", str(make_model(1 / 255, 0.0, gsd_m=(1.1, 4.0))), "--json"]
    assert main([str(fine_scene), *model]) == 1
    message = capsys.readouterr().err
    assert "--resample" in message
    assert "--any-gsd" in message
    assert leftovers() == []
    assert main([str(fine_scene), "--any-gsd", *model]) == 0
    assert '"height_px": 403' in capsys.readouterr().out
    assert main([*model, str(fine_scene), "--resample"]) == 0
    assert '"height_px": 92' in capsys.readouterr().out  # 403 * 0.25 / 1.1
    assert main([str(fine_scene), "--resample", "2", *model]) == 0
    assert '"height_px": 51' in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["--resample", str(fine_scene), *model])


def test_a_dark_scene_is_mapped_with_a_note(
    tmp_path: Path, scene_at: Callable[..., Any], make_manifest: Callable[..., Manifest]
) -> None:
    image = np.random.default_rng(0).integers(0, 2, (50, 60, 3), np.uint8)
    result = Segmenter(red, make_manifest()).predict_scene(scene_at(tmp_path / "s.tif", image).path)
    assert any("the largest sampled value is 1 of the 0 to 255 that the model takes" in note for note in result.notes)


def test_threads_that_each_open_the_scene_read_the_same_pixels_and_lose_the_same_blocks(
    tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    """Tiling rule 22: a handle a thread; warnings, settings and damage of one are not another's."""
    noise = np.random.default_rng(0).integers(1, 256, (256, 256, 3), np.uint8)
    good = scene_at(tmp_path / "good.tif", noise, **JPEG).path
    bad = scene_at(tmp_path / "bad.tif", noise, **JPEG).path
    hurt(bad, 1, 2)
    with gdal_session(), open_scene(good, InputContract()) as scene:
        image = scene.read(0, 256, 0, 256).image.copy()
    lost = np.zeros((256, 256), bool)
    lost[64:128, 128:192] = True

    def read(number: int) -> None:
        with gdal_session(), open_scene((good, bad)[number % 2], InputContract()) as scene:
            for row in range(0, 256, 32):
                pixels = scene.read(row, row + 32, 0, 256)
                gone = lost[row : row + 32] if number % 2 else np.zeros((32, 256), bool)
                np.testing.assert_array_equal(pixels.image[~gone], image[row : row + 32][~gone])
                np.testing.assert_array_equal(pixels.valid, ~gone)
            assert bool(scene.warnings) is bool(number % 2)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(24)))


def test_bands_of_two_types_are_refused_with_the_remedy(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    for name, dtype in (("a", "uint8"), ("b", "uint16")):
        scene_at(tmp_path / f"{name}.tif", np.full((4, 4, 3), 5, dtype))
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">{name}.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band, (name, kind) in enumerate((("a", "Byte"), ("a", "Byte"), ("b", "UInt16")), start=1)
    )
    path = tmp_path / "s.vrt"
    path.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="4">{bands}</VRTDataset>')
    with (
        pytest.raises(SceneError, match="gdal_translate -ot Float32"),
        gdal_session(),
        open_scene(path, InputContract(), value_range=(0, 10)),
    ):
        pass


def test_damage_in_a_file_behind_a_vrt_is_lost_too(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    noise = np.random.default_rng(0).integers(1, 256, (256, 256, 3), np.uint8)
    path = scene_at(tmp_path / "s.tif", noise, **JPEG).path
    hurt(path, 1, 2)
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">s.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    vrt = tmp_path / "s.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="256" rasterYSize="256">{bands}</VRTDataset>')
    with gdal_session(), open_scene(vrt, InputContract()) as scene:
        for _ in range(2):
            lost = scene.read(0, 256, 0, 256).lost
            assert lost is not None
            assert lost[64:128, 128:192].all()
            assert not lost[128:].any()


class Unplugged(EngineError):
    """An error of a program's own."""


@pytest.mark.parametrize("at_tile", [0, 18])
def test_what_is_kept_is_said_by_an_error_of_the_same_class_and_the_first_stays_as_it_was(
    tmp_path: Path, scene_at: Callable[..., Any], make_manifest: Callable[..., Manifest], at_tile: int
) -> None:
    path = scene_at(tmp_path / "s.tif", np.full((200, 90, 3), 9, np.uint8)).path
    first = Unplugged("the cable is out")

    def progress(done: int, total: int) -> None:
        if done >= at_tile:
            raise first

    with pytest.raises(Unplugged) as caught:
        Segmenter(red, make_manifest()).predict_scene(path, progress=progress)
    assert str(first) == "the cable is out"
    if at_tile == 0:
        assert caught.value is first, "nothing is kept and nothing to be said"
    else:
        assert caught.value.__cause__ is first
        assert re.fullmatch(
            r"the cable is out; \d+ of 200 rows are kept, run the same command again to go on", str(caught.value)
        )
