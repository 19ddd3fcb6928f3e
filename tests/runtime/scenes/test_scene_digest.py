"""The digest of a scene: everything that a map is made from, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from kda_edge.errors import SceneError
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.runtime.scenes.scene_digest import digesting


def digest(path: Path) -> str | None:
    with digesting(path) as content:
        return content().sha256


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (60, 50, 3), np.uint8)


def vrt_of(source: str, path: Path) -> Path:
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">{source}'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path.write_text(f'<VRTDataset rasterXSize="50" rasterYSize="60">{bands}</VRTDataset>')
    return path


def test_a_copy_under_another_name_has_the_same_digest_and_one_changed_bit_another(
    tmp_path: Path, image: np.ndarray, scene_at: Callable[..., Any]
) -> None:
    path = scene_at(tmp_path / "a.tif", image).path
    copy = Path(shutil.copy(path, tmp_path / "b.tif"))
    assert digest(path) == digest(copy)
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    assert digest(path) != digest(copy)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_sources_of_a_vrt_count_to_any_depth_with_their_sidecars(
    tmp_path: Path, image: np.ndarray, scene_at: Callable[..., Any], depth: int
) -> None:
    source = scene_at(tmp_path / "0.tif", image, valid=image[..., 0] > 20, mask="sidecar").path
    path = source
    for level in range(depth):
        path = vrt_of(path.name, tmp_path / f"{level + 1}.vrt")
    before = digest(path)
    assert digest(path) == before
    mask = source.with_name("0.tif.msk")
    content = mask.read_bytes()
    mask.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with_other_mask = digest(path)
    assert with_other_mask != before
    mask.write_bytes(content)
    assert digest(path) == before
    image[0, 0] ^= 1
    scene_at(source, image)
    assert digest(path) not in (before, with_other_mask)


def test_what_a_viewer_notes_beside_a_scene_does_not_count_but_a_changed_place_does(
    tmp_path: Path, image: np.ndarray, scene_at: Callable[..., Any]
) -> None:
    """A viewer opened after a power cut must not cost the finished rows."""
    path = scene_at(tmp_path / "a.tif", image).path
    before, notes = digest(path), path.with_name("a.tif.aux.xml")
    statistics = '<MDI key="STATISTICS_MAXIMUM">255</MDI>'
    notes.write_text(
        f'<PAMDataset><PAMRasterBand band="1"><Metadata>{statistics}</Metadata></PAMRasterBand></PAMDataset>'
    )
    with open_raster(path) as dataset:
        assert dataset.tags(1)["STATISTICS_MAXIMUM"] == "255"
    assert digest(path) == before
    notes.write_text('<PAMDataset><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>')
    with open_raster(path) as dataset:
        assert dataset.nodata == 7
    assert digest(path) != before


def test_a_scene_that_is_made_of_more_than_local_files_has_none(tmp_path: Path) -> None:
    """It could change without a trace."""
    with rasterio.MemoryFile() as memory:
        place = {"crs": "EPSG:32647", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 3e6)}
        with memory.open(driver="GTiff", height=60, width=50, count=3, dtype="uint8", **place) as dataset:
            dataset.write(np.zeros((3, 60, 50), np.uint8))
        path = vrt_of(memory.name, tmp_path / "a.vrt")
        path.write_text(path.read_text().replace('relativeToVRT="1"', 'relativeToVRT="0"'))
        assert digest(path) is None


@pytest.mark.parametrize("how", ["written to", "gone"])
def test_a_file_that_is_touched_afterwards_is_named(
    tmp_path: Path, image: np.ndarray, scene_at: Callable[..., Any], how: str
) -> None:
    source = scene_at(tmp_path / "0.tif", image).path
    with digesting(vrt_of(source.name, tmp_path / "a.vrt")) as content:
        content().require_unchanged()
        if how == "gone":
            source.unlink()
        else:
            source.write_bytes(source.read_bytes() + b"!")
        with pytest.raises(SceneError, match=r"0\.tif (was changed|can't be found)") as caught:
            content().require_unchanged()
    assert "\n" not in str(caught.value)


def test_a_nodata_tuple_beside_the_file_counts(tmp_path: Path, image: np.ndarray, scene_at: Callable[..., Any]) -> None:
    """Written there by other programs; the bytes of that file do not count, since viewers write it too."""
    path = scene_at(tmp_path / "s.tif", image).path
    before = digest(path)
    (tmp_path / "s.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    assert digest(path) == before
    words = '<Metadata><MDI key="NODATA_VALUES">0 0 0</MDI></Metadata>'
    (tmp_path / "s.tif.aux.xml").write_text(f"<PAMDataset>{words}</PAMDataset>")
    black = digest(path)
    (tmp_path / "s.tif.aux.xml").write_text(f"<PAMDataset>{words.replace('0', '255')}</PAMDataset>")
    assert len({before, black, digest(path)}) == 3
