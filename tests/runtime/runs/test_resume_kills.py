"""kill -9 at any moment, then the same again: the same bytes, and at most one band is done twice.

The killed runs have little of GDAL's cache and much company (see `Runs`); the one that they are compared with has not.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumable_runs import Runs, counting, rows_kept

from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.tiling.tile_grid import TileGrid

DELAY_S = 0.002  # a tile
IN_FLIGHT = 4  # tiles that may be answered while a band is blended and recorded
HEIGHT, WIDTH, TILE, OVERLAP = 630, 520, 64, 16  # 9 blocks a band, overviews
KILLS = 6


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    started = Runs()
    yield started
    started.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("seed", "polygons"), [(0, "geojson"), (1, "gpkg")])
def test_a_run_killed_again_and_again_ends_with_the_bytes_of_one_that_never_was(
    tmp_path: Path,
    make_manifest: Callable[..., Manifest],
    scene_at: Callable[..., Any],
    runs: Runs,
    seed: int,
    polygons: str,
) -> None:
    rng = np.random.default_rng(seed)
    blobs = np.repeat(np.repeat(rng.integers(0, 256, (HEIGHT // 7, WIDTH // 5, 3), np.uint8), 7, axis=0), 5, axis=1)
    path = scene_at(tmp_path / "s.tif", blobs).path
    manifest, log, out = make_manifest(tile_px=TILE), tmp_path / "log", tmp_path / "out"
    options: dict[str, Any] = {"overlap_px": OVERLAP, "polygons": polygons}
    Segmenter(counting(log, 0.0), manifest).predict_scene(path, tmp_path / "whole", SceneOptions(**options))
    grid, journal = TileGrid(HEIGHT, WIDTH, TILE, OVERLAP), out / ".s_landslide.journal"
    assert log.stat().st_size == len(grid)

    moments, kills, kept, code = random.Random(seed), 0, 0, -1
    while code:
        first_row, answered = kept, log.stat().st_size
        pid = runs.start(manifest, path, out, log, DELAY_S, **options)
        while log.stat().st_size == answered and first_row < HEIGHT:
            time.sleep(0.001)  # until it is at work
        if kills < KILLS:
            time.sleep(moments.uniform(0.0, 0.2))
            os.kill(pid, signal.SIGKILL)
        code = runs.ended()
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        if code:
            kept = rows_kept(journal)
            wanted = [row for row in grid.rows if row + TILE > first_row]
            done = [row for row in wanted if row + TILE <= kept]
            into_the_next_band = [row for row in wanted if row + TILE > kept and row < kept + TILE - OVERLAP]
            lost = log.stat().st_size - answered - len(done) * len(grid.cols)
            assert kept >= first_row
            assert lost <= len(into_the_next_band) * len(grid.cols) + IN_FLIGHT
    assert kills >= 3
    assert contents(out) == contents(tmp_path / "whole")
