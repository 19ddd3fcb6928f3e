from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import CACHE_BYTES, gdal_session
from kda_edge.runtime.scenes.scene import open_scene

LAYOUTS: dict[str, dict[str, Any]] = {
    "plain strips": {},
    "plain tiles": {"tiled": True, "blockxsize": 64, "blockysize": 64},
    "deflate": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    "lzw by band": {"compress": "lzw", "interleave": "band"},
    "jpeg": {"compress": "jpeg", "photometric": "ycbcr", "blockysize": 16},
}


def read_all(path: Path) -> None:
    with gdal_session(), open_scene(path, InputContract()) as scene:
        for row in range(0, scene.height_px, 64):
            scene.read(row, min(row + 64, scene.height_px), 0, scene.width_px)


def refusal(path: Path) -> str:
    with pytest.raises(SceneError) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (300, 200, 3), np.uint8)


@pytest.mark.parametrize("share", [0.999, 0.6, 0.2, 0.01, 0.001])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_cut_short_is_never_background(
    tmp_path: Path, scene_at: Callable[..., Any], layout: str, share: float
) -> None:
    """Tiling rule 19: whatever the layout and wherever the cut, the user is told to copy it again."""
    path = scene_at(tmp_path / "cut.tif", noise(), **LAYOUTS[layout]).path
    read_all(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "copy it again" in refusal(path)


def test_a_file_cut_short_is_found_by_its_header_before_any_work(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    path = scene_at(tmp_path / "cut.tif", noise(), **LAYOUTS["deflate"]).path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SceneError, match="ends after"), gdal_session(), open_scene(path, InputContract()):
        pass


def test_a_mask_sidecar_that_can_not_be_read_is_not_passed_over(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    valid = np.random.default_rng(1).random((300, 200)) < 0.5
    path = scene_at(tmp_path / "s.tif", noise(), valid=valid, mask="sidecar").path
    sidecar = tmp_path / "s.tif.msk"
    sidecar.write_bytes(sidecar.read_bytes()[:6])
    assert "s.tif.msk" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"not a raster at all", b"II*\x00"], ids=["empty", "text", "only a magic"])
def test_a_file_that_is_no_raster_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    assert "not a raster" in refusal(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "scene.tif")
    assert "is not a file" in refusal(tmp_path)


def test_a_name_that_gdal_can_not_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.tif")
    path.write_bytes(b"")
    with pytest.raises(SceneError, match="not UTF-8"):
        read_all(path)
    with pytest.raises(SceneError, match="too long"):
        read_all(tmp_path / ("a" * 300 + ".tif"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    path = scene_at(tmp_path / "scene.tif", noise()).path
    path.chmod(0)
    refusal(path)


def test_the_block_cache_is_bounded_in_a_session_and_restored_after_it() -> None:
    """Tiling rule 22: also inside an environment of the caller's."""
    cache_bytes = rasterio.env.get_gdal_config("GDAL_CACHEMAX")
    with rasterio.Env():
        with gdal_session():
            assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == CACHE_BYTES
        assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == cache_bytes
    assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") == cache_bytes
