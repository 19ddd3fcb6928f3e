"""A run that is stopped, fails or is slow: no thread stays, nothing piles up, no byte changes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
from made_sources import MadeSource, Opener, our_threads, position

from kda_edge.errors import SceneError
from kda_edge.manifest import Manifest
from kda_edge.runtime.map_format import probability_bytes
from kda_edge.runtime.mapping.mapped_rows import mapped_rows
from kda_edge.tiling.pixels import ArraySource
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_grid import TileGrid


def constant(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.8, np.float32)


class Boom(Exception):
    """What nobody catches."""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Boom])
@pytest.mark.parametrize("where", ["engine", "progress", "read", "user"])
def test_no_thread_outlives_a_run_that_is_stopped(
    make_manifest: Callable[..., Manifest], stop: type[BaseException], where: str
) -> None:
    calls = itertools.count()

    def stopping(here: str) -> None:
        if here == where and next(calls) == 2:
            raise stop

    class Source(MadeSource):
        def read(self, *window: int):  # type: ignore[no-untyped-def]
            stopping("read")
            return super().read(*window)

    def engine(tiles: np.ndarray) -> np.ndarray:
        stopping("engine")
        return constant(tiles)

    opener = Opener(Source(1000, 100))

    def run() -> None:
        rows = mapped_rows(
            opener,
            TileGrid(1000, 100, 32, 8),
            engine,
            make_manifest(),
            progress=lambda done, total: stopping("progress"),
        )
        with closing(rows):
            for _ in rows:
                stopping("user")

    if where == "engine" and stop is Boom:
        run()  # a tile that fails once is tried again
    else:
        with pytest.raises(stop):
            run()
    assert our_threads() == []
    assert sorted(opener.opened) == sorted(opener.closed)


def test_a_scene_error_of_a_reader_is_raised_once_as_it_is(make_manifest: Callable[..., Manifest]) -> None:
    class Gone(MadeSource):
        def read(self, row0: int, row1: int, col0: int, col1: int):  # type: ignore[no-untyped-def]
            if row1 > 500:
                raise SceneError("the disk is gone; connect it again")
            return super().read(row0, row1, col0, col1)

    rows = mapped_rows(Opener(Gone(1000, 50)), TileGrid(1000, 50, 32, 8), constant, make_manifest())
    with pytest.raises(SceneError, match="connect it again"):
        list(rows)
    assert next(rows, None) is None
    assert our_threads() == []


@pytest.mark.parametrize("slow", ["read", "engine", "user"])
def test_however_slow_a_part_is_the_others_wait_and_the_bytes_are_the_same(
    make_manifest: Callable[..., Manifest], slow: str
) -> None:
    """Bounded: what is read ahead of the rows that came out is a few windows and a row of tiles, never the scene."""
    lock, read_rows, most = threading.Lock(), [0], [0]

    class Source(MadeSource):
        def read(self, row0: int, row1: int, col0: int, col1: int):  # type: ignore[no-untyped-def]
            if slow == "read":
                time.sleep(0.02)
            with lock:
                read_rows[0] = max(read_rows[0], row1)
            return super().read(row0, row1, col0, col1)

    def engine(tiles: np.ndarray) -> np.ndarray:
        if slow == "engine":
            time.sleep(0.004)
        return position(tiles)

    source, grid, found = Source(3000, 40), TileGrid(3000, 40, 32, 8), []
    for rows in mapped_rows(Opener(source), grid, engine, make_manifest()):
        if slow == "user":
            time.sleep(0.004)
        found.append(rows.layers)
        with lock:
            most[0] = max(most[0], read_rows[0] - rows.row_px)
    # Five windows of 128 rows, a tile and its halo, and five rows of tiles between reader and user.
    assert most[0] <= 5 * 128 + 64 + 5 * 24
    plain = np.concatenate([b.probability for b in predict(ArraySource(source.image), grid, position)])
    np.testing.assert_array_equal(np.concatenate(found, axis=1)[1], probability_bytes(plain))
