"""Where the blocks of a map lie in its file follows from the scene alone, whoever else uses GDAL's cache, and when."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window

from kda_edge.manifest import Manifest
from kda_edge.runtime.geo import gdal
from kda_edge.runtime.outputs.map_geotiff import map_writer
from kda_edge.runtime.scenes.scene import open_scene

HEIGHT, WIDTH, BLOCK_BYTES = 1300, 1100, 256 * 256
ROUNDS = 3

Write = Callable[..., bytes]


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory, scene_at: Callable[..., Any]) -> Path:
    """A scene of small blocks, so that whoever reads it takes many of the cache's."""
    image = np.random.default_rng(5).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band"}
    found: Path = scene_at(tmp_path_factory.mktemp("blocks") / "s.tif", image, **layout).path
    return found


@pytest.fixture(scope="module")
def layers() -> np.ndarray:
    """Class, probability and qa of a map whose third is nodata."""
    rng = np.random.default_rng(6)
    squares = np.stack([rng.integers(0, top, (HEIGHT // 10, WIDTH // 10), np.uint8) for top in (2, 255, 16)])
    squares[:2, rng.random(squares.shape[1:]) < 1 / 3] = 255
    return squares.repeat(10, axis=1).repeat(10, axis=2)


@pytest.fixture
def write(scene_path: Path, layers: np.ndarray, tmp_path: Path, make_manifest: Callable[..., Manifest]) -> Write:
    """Write the map, so many rows at a time, and return its bytes."""
    numbers = itertools.count()

    def written(chunks_px: Iterator[int]) -> bytes:
        path, row = tmp_path / f"{next(numbers)}.tif", 0
        with (
            gdal.gdal_session(),
            open_scene(scene_path, make_manifest().input) as scene,
            map_writer(path, scene, {"made": "by a test"}) as writer,
        ):
            while row < HEIGHT:
                count = min(next(chunks_px), HEIGHT - row)
                writer.write(layers[:, row : row + count])
                row += count
            writer.finish()
        return path.read_bytes()

    return written


@contextmanager
def disturbed(read: Callable[[], Any], threads: int) -> Iterator[None]:
    """Have threads read, again and again, until the block ends."""
    stop = threading.Event()

    def work() -> None:
        with gdal.gdal_session():
            while not stop.is_set():
                read()

    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in started:
            thread.join()


@pytest.mark.parametrize(("cache_blocks", "writer_blocks"), [(2, 512), (24, 6)])
def test_a_maps_bytes_do_not_depend_on_the_cache_on_who_reads_meanwhile_or_on_how_its_rows_come(
    write: Write,
    scene_path: Path,
    make_manifest: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    cache_blocks: int,
    writer_blocks: int,
) -> None:
    monkeypatch.setattr(gdal, "WRITER_CACHE_BYTES", writer_blocks * BLOCK_BYTES)
    quiet = write(itertools.repeat(HEIGHT))
    monkeypatch.setattr(gdal, "CACHE_BYTES", cache_blocks * BLOCK_BYTES)
    windows = itertools.cycle([(0, 512, 0, WIDTH), (0, 9, 0, 9), (0, 9, 0, 9), (0, 9, 0, 9)])

    def read() -> None:
        with open_scene(scene_path, make_manifest().input) as scene:
            scene.read(*next(windows))

    rng = np.random.default_rng(7)
    for _ in range(ROUNDS):
        with disturbed(read, 4):
            assert write(iter(lambda: int(rng.integers(1, 400)), 0)) == quiet


def test_another_librarys_reader_in_the_same_process_moves_no_block(
    write: Write, scene_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = write(itertools.repeat(HEIGHT))
    monkeypatch.setattr(gdal, "CACHE_BYTES", 6 * BLOCK_BYTES)

    def read() -> None:
        with gdal.open_raster(scene_path) as dataset:
            dataset.read(window=Window(0, 0, WIDTH, 512))

    for _ in range(ROUNDS):
        with disturbed(read, 4):
            assert write(itertools.repeat(97)) == quiet


def test_a_setting_of_gdal_for_threads_changes_nothing(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = write(itertools.repeat(HEIGHT))
    monkeypatch.setenv("GDAL_NUM_THREADS", "ALL_CPUS")
    assert write(itertools.repeat(97)) == quiet


def test_a_scene_is_not_read_while_blocks_of_a_map_wait_to_be_written(
    scene_path: Path, make_manifest: Callable[..., Manifest]
) -> None:
    """A thread that reads would write them itself when it needs room: out of turn, and deaf for the disk's errors."""
    at_work, done = threading.Event(), threading.Event()

    def read() -> None:
        with gdal.gdal_session(), open_scene(scene_path, make_manifest().input) as scene:
            at_work.set()
            scene.read(0, 9, 0, 9)
        done.set()

    reader = threading.Thread(target=read)
    with gdal.gdal_session(), gdal.writing_blocks():
        reader.start()
        assert at_work.wait(30)
        assert not done.wait(0.2)
    reader.join(30)
    assert done.is_set()
