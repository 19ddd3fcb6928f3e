"""Cells of a picture gathered part by part, against a look at every pixel."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import write_raster

from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.outputs.picture import Sketch
from kda_edge.runtime.outputs.picture_cells import (
    GROUND,
    NO_DATA,
    SAMPLES,
    SLIDE,
    MapCells,
    SceneColours,
    colours_of_scene,
)
from kda_edge.runtime.scenes.read_ahead import ReadPlan, Window
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.pixels import Pixels

SIZES = [((50, 70), (13, 9)), ((50, 70), (50, 70)), ((7, 90), (100, 20)), ((64, 64), (1, 1)), ((33, 1), (4, 4))]
KINDS = ["uint8", "uint16", "int16", "float32", "float64", "int32"]


def cell_bounds(source_px: int, shown_px: int) -> list[tuple[int, int]]:
    count = min(source_px, shown_px)
    firsts = [number * source_px // count for number in range(count)]
    return list(zip(firsts, [*firsts[1:], source_px], strict=True))


def sample_places(source_px: int, shown_px: int) -> list[list[int]]:
    """The middles of as many equal parts of each cell as there are samples."""
    bounds = cell_bounds(source_px, shown_px)
    number = min(SAMPLES, *(end - first for first, end in bounds))
    return [[first + (end - first) * (2 * at + 1) // (2 * number) for at in range(number)] for first, end in bounds]


def windows_of(height: int, width: int, seed: int) -> list[Window]:
    random = np.random.default_rng(seed)
    rows = [0, *sorted(random.choice(np.arange(1, height), 3, replace=False).tolist()), height]
    cols = [0, width // 2, width] if width > 1 else [0, width]
    return [
        Window(row0, row1, col0, col1)
        for row0, row1 in itertools.pairwise(rows)
        for col0, col1 in itertools.pairwise(cols)
    ]


@pytest.mark.parametrize(("scene_hw", "size_hw"), SIZES, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_cell_is_a_landslide_where_any_pixel_is_however_the_rows_come(
    scene_hw: tuple[int, int], size_hw: tuple[int, int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    classes = random.choice(np.array([0, 1, 255], np.uint8), scene_hw, p=[0.04, 0.01, 0.95])
    cells = MapCells(*scene_hw, size_hw)
    cuts = sorted(random.integers(1, scene_hw[0], 4).tolist())
    for part in np.split(classes, sorted(set(cuts))):
        cells.add(part)
    for row, (top, bottom) in enumerate(cell_bounds(scene_hw[0], size_hw[0])):
        for col, (left, right) in enumerate(cell_bounds(scene_hw[1], size_hw[1])):
            inside = classes[top:bottom, left:right]
            expected = SLIDE if (inside == 1).any() else GROUND if (inside == 0).any() else NO_DATA
            assert cells.shown[row, col] == expected


@pytest.mark.parametrize(("scene_hw", "size_hw"), SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_colour_is_the_mean_of_the_valid_samples_of_its_cell_whatever_the_windows(
    scene_hw: tuple[int, int], size_hw: tuple[int, int], kind: str
) -> None:
    random = np.random.default_rng(4)
    top = np.iinfo(kind).max if np.dtype(kind).kind in "iu" else 1000
    image = random.integers(0, top, (*scene_hw, 3), endpoint=True).astype(kind)
    valid = random.random(scene_hw) < 0.7
    colours = SceneColours(*scene_hw, np.dtype(kind), size_hw)
    for window in windows_of(*scene_hw, seed=5):
        assert not colours.whole
        here = np.s_[window.row0 : window.row1, window.col0 : window.col1]
        colours.add(window, Pixels(image[here], valid[here]))
    assert colours.whole
    means, known, _ = colours.means()
    assert means.dtype == np.result_type(kind, np.float32)
    for row, rows in enumerate(sample_places(scene_hw[0], size_hw[0])):
        for col, cols in enumerate(sample_places(scene_hw[1], size_hw[1])):
            here = np.ix_(rows, cols)
            chosen = image[here][valid[here]].astype(np.float64)
            assert known[row, col] == bool(len(chosen))
            if len(chosen):
                np.testing.assert_allclose(means[row, col], chosen.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS[:4])
def test_windows_that_pass_by_give_the_very_bytes_of_a_scene_read_alone(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(6)
    layers: Any = (random.random((3, 300, 410)) * 250).astype(kind)
    path = write_raster(tmp_path / "s.tif", layers, tiled=True, blockxsize=64, blockysize=48, nodata=0)
    with gdal_session(), open_scene(path, InputContract(), value_range=(0, 250)) as scene:
        alone = colours_of_scene(scene, (77, 103))
        passing = SceneColours(scene.height_px, scene.width_px, scene.pixel_type, (77, 103))
        for window in ReadPlan.for_blocks(scene.block_hw).windows(0, scene.height_px, scene.width_px):
            passing.add(window, scene.read(*window))
    for one, other in zip(alone.means()[:2], passing.means()[:2], strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_scene_that_has_passed_by_whole_is_not_read_again_and_one_that_has_not_is(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "s.tif", np.random.default_rng(7).integers(1, 255, (3, 300, 200), np.uint8))
    with gdal_session(), open_scene(path, InputContract()) as scene:
        windows = list(ReadPlan(100, 200).windows(0, 300, 200))
        for last in (2, 3):
            sketch, read = Sketch(scene), dataclasses.replace(scene, _source=RefusedWhere(last == 3, scene._source))
            for window in windows[:last]:
                sketch.colours.add(window, scene.read(*window))
            sketch.finish(read)
            assert sketch.openings == ([] if last == 3 else [read])
            np.testing.assert_array_equal(
                sketch.colours.means().image, colours_of_scene(scene, sketch.size_hw).means().image
            )


class RefusedWhere:
    """A source that is not to be read."""

    def __init__(self, refuses: bool, source: Any) -> None:
        self._refuses, self._source = refuses, source
        self.block_hw = source.block_hw

    def read(self, *window: int) -> Pixels:
        assert not self._refuses
        pixels: Pixels = self._source.read(*window)
        return pixels
