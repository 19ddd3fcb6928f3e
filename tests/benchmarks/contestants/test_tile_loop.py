"""The straightforward loop is right: a peer that lost pixels would be beaten unfairly."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from kda_edge.benchmarks.contestants.tile_loop import map_by_loop

Tiles = NDArray[np.float32]


def scene_of(path: Path, image: np.ndarray) -> Path:
    height_px, width_px, count = image.shape
    profile = {"driver": "GTiff", "count": count, "dtype": "uint8", "nodata": 0, "photometric": "minisblack"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", height=height_px, width=width_px, **profile) as scene:
            scene.write(image.transpose(2, 0, 1))
    return path


def layers_of(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            return dataset.read()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 15), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_an_engine_that_returns_a_band_gives_that_band_back_everywhere(
    tmp_path_factory: pytest.TempPathFactory, height_px: int, width_px: int, overlap_px: int, batch: int
) -> None:
    folder = tmp_path_factory.mktemp("loop")
    image = np.random.default_rng(height_px * 71 + width_px).integers(0, 255, (height_px, width_px, 4), np.uint8)
    image[: height_px // 2] = 0
    asked: list[int] = []

    def second_of_three(tiles: Tiles) -> Tiles:
        asked.append(len(tiles))
        return tiles[:, 1:2] / 254

    scene, out = scene_of(folder / "scene.tif", image), folder / "map.tif"
    settings_of = {"bands": (4, 3, 1), "tile_px": 16, "overlap_px": overlap_px, "batch": batch, "threshold": 0.5}
    tiles = map_by_loop(scene, out, second_of_three, **settings_of)
    classes, probability = layers_of(out)
    valid = image[..., [3, 2, 0]].all(axis=2)  # nodata is 0
    assert (probability[valid] == image[..., 2][valid]).all()
    assert (classes[valid] == (image[..., 2] >= 127)[valid]).all()
    assert (probability[~valid] == 255).all()
    assert (classes[~valid] == 255).all()
    assert sum(asked) == tiles
    assert max(asked, default=1) <= batch


def test_tiles_without_data_are_not_computed_and_overlaps_are_averaged(tmp_path: Path) -> None:
    image = np.zeros((16, 44, 3), np.uint8)
    image[:, :28] = 9  # tiles begin at columns 0, 14 and 28; the third has no data
    answers = iter([0.0, 1.0])

    def constant(tiles: Tiles) -> Tiles:
        return np.full((len(tiles), 1, 16, 16), next(answers), np.float32)

    scene, out = scene_of(tmp_path / "scene.tif", image), tmp_path / "map.tif"
    assert map_by_loop(scene, out, constant, bands=(1, 2, 3), tile_px=16, overlap_px=2, batch=1, threshold=0.6) == 2
    classes, probability = layers_of(out)
    assert probability[0].tolist() == [0] * 14 + [127] * 2 + [254] * 12 + [255] * 16
    assert classes[0].tolist() == [0] * 16 + [1] * 12 + [255] * 16
