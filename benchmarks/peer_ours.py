"""Our own contestant: what `kda-infer` does for a scene, with map, overviews, polygons and picture."""

from __future__ import annotations

import time
from pathlib import Path

from kda_edge.runtime import Segmenter

from .contest import Lap, MappingTask, Settings


class Ours:
    """A `Segmenter` as a program would embed it.

    Attributes:
        settings: of the engine and what is written.
    """

    def __init__(self, task: MappingTask) -> None:
        """Open the model.

        Raises:
            KdaEdgeError: see `kda_edge.runtime.Segmenter.open`.
        """
        self._task = task
        self._segmenter = Segmenter.open(task.artifact, engine=task.engine, allow_unverified=task.allow_unverified)
        self.settings: Settings = {
            "engine": task.engine,
            "threads": "as kda-infer",
            "tile_px": self._segmenter.manifest.tile_px,
            "overlap_px": task.overlap_px,
            "writes": "GeoTIFF of class, probability and qa with overviews, read back; polygons; picture",
        }

    def run(self, scene_path: Path, out_dir: Path) -> Lap:
        """Map a scene; the clock includes reading, overviews, polygons, picture and all writing."""
        start = time.perf_counter()
        result = self._segmenter.predict_scene(
            scene_path, out_dir, bands=self._task.bands, overlap_px=self._task.overlap_px
        )
        return Lap(time.perf_counter() - start, result.tiles - result.failed_tiles, result.map_path)
