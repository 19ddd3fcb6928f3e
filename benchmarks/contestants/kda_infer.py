"""Our own contestant: what `kda-infer` does for a scene, with map, overviews, polygons and picture."""

from __future__ import annotations

import time
from pathlib import Path

from kda_edge.errors import EngineError
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.opened_engine import open_engine

from ..measuring.busy_engine import BusyEngine
from .task import Lap, MappingTask, Settings


class Ours:
    """A `Segmenter` as a program would embed it.

    Attributes:
        settings: of the engine and what is written.
    """

    def __init__(self, task: MappingTask) -> None:
        """Open the model.

        Raises:
            KdaEdgeError: see `kda_edge.runtime.opened_engine.open_engine`.
        """
        opened = open_engine(task.artifact, engine=task.engine, allow_unverified=task.allow_unverified)
        self._task, self._engine = task, BusyEngine(opened)
        self._segmenter = Segmenter(self._engine, opened.manifest, opened.facts, opened.notes, close=opened.close)
        self.settings: Settings = {
            "engine": opened.name,
            "threads": "as kda-infer chooses",
            "batch": "as kda-infer chooses",
            "tile_px": opened.manifest.tile_px,
            "overlap_px": task.overlap_px,
            "writes": "GeoTIFF of class, probability and qa with overviews, read back; polygons; picture",
        }

    def run(self, scene_path: Path, out_dir: Path) -> Lap:
        """Map a scene; the clock includes reading, overviews, polygons, picture and all writing.

        Raises:
            EngineError: tiles failed; the time of a map with holes means nothing.
        """
        self._engine.forget()
        options = SceneOptions(bands=self._task.bands, overlap_px=self._task.overlap_px, overwrite=True)
        start = time.perf_counter()
        result = self._segmenter.predict_scene(scene_path, out_dir, options)
        seconds = time.perf_counter() - start
        if result.failed_tiles:
            raise EngineError(f"{result.failed_tiles} tiles failed ({result.notes[0]})")
        return Lap(seconds, self._engine.tiles, result.map_path)
