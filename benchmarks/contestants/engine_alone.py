"""The engine alone as a contestant: what it needs for a scene's tiles is the floor under every way to map it.

Tiles are read, filled and stacked while the clock stands; it runs for the engine's calls alone, a row of tiles at a
time. Tiles without any valid pixel are left out, as our map leaves them out.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile
from kda_edge.tiling.tile_grid import TileGrid

from .batch_choice import chosen_batch
from .task import Lap, MappingTask, Settings


class EngineAlone:
    """Our engine without a scene around it.

    Attributes:
        settings: of the engine.
    """

    def __init__(self, task: MappingTask) -> None:
        """Open the engine as `kda-infer` does.

        Raises:
            KdaEdgeError: see `kda_edge.runtime.opened_engine.open_engine`.
        """
        self._task = task
        self._engine = open_engine(task.artifact, engine=task.engine, allow_unverified=task.allow_unverified)
        self._manifest = self._engine.manifest
        self._batch, why = chosen_batch(self._engine, self._manifest.tile_px, task.batch)
        least = self._engine.facts.batch
        if self._batch < least:  # the floor under kda-infer is the engine with no fewer tiles than kda-infer gives it
            self._batch, why = least, "as kda-infer"
        self.settings: Settings = {
            "engine": self._engine.name,
            "threads": "as kda-infer chooses",
            "batch": self._batch,
            "batch_choice": why,
            "tile_px": self._manifest.tile_px,
            "overlap_px": task.overlap_px,
            "clock": "calls of the engine alone",
        }

    def run(self, scene_path: Path, out_dir: Path) -> Lap:
        """Compute every tile of a scene that has data; the clock runs for the engine's calls alone."""
        contract, tile_px = self._manifest.input, self._manifest.tile_px
        seconds, count = 0.0, 0
        with gdal_session(), open_scene(scene_path, contract, bands=self._task.bands) as scene:
            grid = TileGrid(scene.height_px, scene.width_px, tile_px, self._task.overlap_px)
            for row in grid.rows:
                pixels = scene.read(row, min(row + tile_px, scene.height_px), 0, scene.width_px)
                tiles = [
                    pad_to_tile(fill_nodata(pixels[0][:, col : col + tile_px], valid), tile_px)
                    for col in grid.cols
                    if (valid := pixels[1][:, col : col + tile_px]).any()
                ]
                batches = [_stacked(tiles[first : first + self._batch]) for first in range(0, len(tiles), self._batch)]
                start = time.perf_counter()
                for batch in batches:
                    self._engine(batch)
                seconds += time.perf_counter() - start
                count += len(tiles)
        return Lap(seconds, count, None)


def _stacked(tiles: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.stack(tiles).transpose(0, 3, 1, 2), np.float32)
