"""The straightforward way to map a scene: read a window, ask the network, add up, divide, write.

What most scripts do, written well: no tile missing at the borders, batches, tiles without data skipped, all cores for
compression. Its memory grows with the scene, it averages overlaps with equal weights, and it is one thread but for the
network and the compression.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.tiling.tile_grid import TileGrid

from .batch_choice import CANDIDATES, chosen_batch
from .plain_map import WRITING, valid_pixels_of, write_plain_map
from .task import Lap, MappingTask, Settings

LOOP: Final = "windows by rasterio, equal-weight mean of overlaps, wholly nodata tiles skipped"

# Raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T).
Answer: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class LoopPeer:
    """A contestant that drives an engine by `map_by_loop`.

    Attributes:
        settings: of engine and loop.
    """

    def __init__(
        self, task: MappingTask, answer: Answer, engine: Settings, candidates: Sequence[int] = CANDIDATES
    ) -> None:
        """Choose the batch.

        Args:
            task: what to do.
            answer: the engine, open.
            engine: its settings.
            candidates: batches that are tried where the task names none.
        """
        self._task, self._answer, self._manifest = task, answer, task.model().manifest
        self._batch, why = chosen_batch(answer, self._manifest.tile_px, task.batch, candidates)
        self.settings: Settings = {
            **engine,
            "threads": task.threads,
            "batch": self._batch,
            "batch_choice": why,
            "tile_px": self._manifest.tile_px,
            "overlap_px": task.overlap_px,
            "loop": LOOP,
            "writes": WRITING,
        }

    def run(self, scene_path: Path, out_dir: Path) -> Lap:
        """Map a scene; the clock includes reading and writing."""
        path, start = out_dir / "loop.tif", time.perf_counter()
        tiles = map_by_loop(
            scene_path,
            path,
            self._answer,
            bands=self._task.bands,
            tile_px=self._manifest.tile_px,
            overlap_px=self._task.overlap_px,
            batch=self._batch,
            threshold=self._manifest.threshold,
        )
        return Lap(time.perf_counter() - start, tiles, path)


def map_by_loop(
    scene_path: Path,
    map_path: Path,
    answer: Answer,
    *,
    bands: tuple[int, int, int],
    tile_px: int,
    overlap_px: int,
    batch: int,
    threshold: float,
) -> int:
    """Map a scene and return how many tiles the network answered.

    Args:
        scene_path: of the scene.
        map_path: of the map to write.
        answer: the engine.
        bands: 1-based numbers of the scene's bands, in the model's order.
        tile_px: side of a tile.
        overlap_px: least overlap of neighbouring tiles.
        batch: most tiles a call.
        threshold: from which a pixel is landslide.
    """
    with open_raster(scene_path) as dataset:
        height_px, width_px = dataset.height, dataset.width
        valid = valid_pixels_of(dataset, bands)
        total = np.zeros((height_px, width_px), np.float32)
        hits = np.zeros((height_px, width_px), np.float32)
        grid = TileGrid(height_px, width_px, tile_px, overlap_px)
        corners = [(row, col) for row, col in grid if valid[row : row + tile_px, col : col + tile_px].any()]
        for first in range(0, len(corners), batch):
            chosen = corners[first : first + batch]
            probability = answer(np.stack([_tile(dataset, bands, row, col, tile_px) for row, col in chosen]))
            for (row, col), tile in zip(chosen, probability[:, 0], strict=True):
                here = np.s_[row : row + tile_px, col : col + tile_px]
                total[here] += tile[: height_px - row, : width_px - col]
                hits[here] += 1
        np.maximum(hits, 1, out=hits)
        total /= hits
        write_plain_map(map_path, dataset, total, valid, threshold)
    return len(corners)


def _tile(dataset: Any, bands: tuple[int, int, int], row: int, col: int, tile_px: int) -> NDArray[np.float32]:
    height_px, width_px = min(tile_px, dataset.height - row), min(tile_px, dataset.width - col)
    image = dataset.read(list(bands), window=Window(col, row, width_px, height_px))
    if (height_px, width_px) != (tile_px, tile_px):
        image = np.pad(image, ((0, 0), (0, tile_px - height_px), (0, tile_px - width_px)), mode="reflect")
    return np.asarray(image, np.float32)
