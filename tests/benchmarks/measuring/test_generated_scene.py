"""A generated scene has the size and the share of empty pixels of the orthomosaic that it stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from kda_edge.benchmarks.measuring.generated_scene import NODATA_SHARE, write_labelled_scene, write_scene


def test_a_scene_is_georeferenced_8_bit_and_a_quarter_of_it_is_empty(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", width_px=600, height_px=500)
    with rasterio.open(path) as scene:
        pixels = scene.read()
        assert (scene.count, scene.dtypes[0], scene.nodata) == (3, "uint8", 0)
        assert scene.res == (0.05, 0.05)
    empty = (pixels == 0).all(axis=0)
    assert empty.mean() == pytest.approx(NODATA_SHARE, abs=0.02)
    assert not (pixels == 0)[:, ~empty].any()  # a pixel is empty in all bands or in none
    assert 60 < pixels[:, ~empty].mean() < 180
    assert pixels[:, ~empty].std() > 10


def test_the_same_seed_gives_the_same_scene_and_another_another(tmp_path: Path) -> None:
    def read(path: Path) -> np.ndarray:
        with rasterio.open(path) as scene:
            pixels: np.ndarray = scene.read()
        return pixels

    first, again, other = (
        read(write_scene(tmp_path / f"{n}.tif", width_px=96, height_px=64, seed=seed))
        for n, seed in enumerate((1, 1, 2))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_labelled_scene_has_a_tenth_of_landslide(tmp_path: Path) -> None:
    root = write_labelled_scene(tmp_path, side_px=128)
    with rasterio.open(root / "masks" / "scene.tif") as mask:
        labels = mask.read(1)
    assert set(np.unique(labels)) == {0, 1}
    assert labels.mean() == pytest.approx(0.1, abs=0.01)
