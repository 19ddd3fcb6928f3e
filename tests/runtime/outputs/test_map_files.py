"""Map and polygons written in a thread, against the two writers on their own in this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from landslide_maps import blobs, layers_of
from made_sources import our_threads

from kda_edge.errors import OutputError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.outputs.map_files import ROWS_WAITING, MapFiles
from kda_edge.runtime.outputs.map_geotiff import map_writer
from kda_edge.runtime.outputs.map_owner import SCENE_TAG
from kda_edge.runtime.outputs.output_files import OutputPaths
from kda_edge.runtime.outputs.picture_cells import MapCells
from kda_edge.runtime.polygons.polygon_writer import PolygonWriter, facts_of
from kda_edge.runtime.scenes.scene import Scene, open_scene

TAGS = {"model": "tiny-test", "threshold": "0.5"}


def digest() -> str:
    return "ab" * 32


HEIGHT, WIDTH = 70, 90


@pytest.fixture
def source(scene: Any) -> Iterator[Scene]:
    with gdal_session(), open_scene(scene.path, InputContract()) as opened:
        yield opened


@pytest.fixture
def layers() -> np.ndarray:
    return layers_of(blobs((HEIGHT, WIDTH), seed=5), seed=5)


def paths(folder: Path) -> OutputPaths:
    folder.mkdir(exist_ok=True)
    return OutputPaths(folder / "m.tif", folder / "m.geojson", folder / "m.png")


def cells() -> MapCells:
    return MapCells(HEIGHT, WIDTH, (20, 30))


@pytest.mark.parametrize("cuts", [(), (1,), (9, 33, 34)], ids=str)
def test_the_thread_writes_what_the_two_writers_write(
    source: Scene, layers: np.ndarray, tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    ours, plain = paths(tmp_path / "ours"), paths(tmp_path / "plain")
    with closing(MapFiles(source, TAGS, digest, ours, cells=cells(), min_area=3)) as files:
        for part in np.split(layers, cuts, axis=1):
            files.write(part)
        summary = files.finish().result()
        with open_raster(ours.map) as landslides:  # closed by now: whole for whoever opens it
            np.testing.assert_array_equal(landslides.read(), layers)
    with (
        map_writer(plain.map, source, TAGS, late_tags=lambda: {SCENE_TAG: digest()}) as pixels,
        PolygonWriter(plain.polygons, source, facts=facts_of(TAGS), min_area=3) as polygons,
    ):
        pixels.write(layers)
        polygons.add(layers)
        pixels.finish()
        assert summary == polygons.finish()
    assert summary.count > 0
    assert ours.map.read_bytes() == plain.map.read_bytes()
    assert ours.polygons.read_bytes() == plain.polygons.read_bytes()
    assert our_threads() == []


def test_what_goes_wrong_in_the_thread_is_raised_by_the_next_call(
    source: Scene, layers: np.ndarray, tmp_path: Path
) -> None:
    wrong = layers[:, :, :-1]
    with closing(MapFiles(source, TAGS, digest, paths(tmp_path / "a"), cells=cells(), min_area=0)) as files:
        files.write(wrong)
        for _ in range(ROWS_WAITING - 1):
            files.write(layers)
        with pytest.raises(ValueError, match="broadcast"):
            files.write(layers)
    with closing(MapFiles(source, TAGS, digest, paths(tmp_path / "b"), cells=cells(), min_area=0)) as files:
        files.write(wrong)
        with pytest.raises(ValueError, match="broadcast"):
            files.finish()
    assert our_threads() == []


def test_files_that_are_closed_unfinished_leave_no_thread(source: Scene, layers: np.ndarray, tmp_path: Path) -> None:
    with closing(MapFiles(source, TAGS, digest, paths(tmp_path / "a"), cells=cells(), min_area=0)) as files:
        files.write(layers[:, :30])
    assert our_threads() == []


def test_a_file_that_can_not_be_created_is_told_at_once_and_the_other_is_let_go(source: Scene, tmp_path: Path) -> None:
    hidden = paths(tmp_path / "a")
    nowhere = OutputPaths(hidden.map, tmp_path / "nowhere" / "m.geojson", hidden.picture)
    with pytest.raises(OutputError, match="can't be written"):
        MapFiles(source, TAGS, digest, nowhere, cells=cells(), min_area=0)
    assert our_threads() == []
