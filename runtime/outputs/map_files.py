"""Map and polygons of a scene, written together in a thread of their own while the next rows are made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..geo.gdal import gdal_session
from ..polygons.polygon_writer import PolygonSummary, PolygonWriter, facts_of
from ..scenes.scene import Scene
from .map_geotiff import MapWriter, map_writer
from .map_owner import SCENE_TAG
from .output_files import OutputPaths
from .picture_cells import MapCells

ROWS_WAITING: Final = 1  # bands that are handed over and not written yet


class MapFiles:
    """Map and polygons that grow by rows, from the scene's first to its last.

    A thread opens, writes and closes both, and nothing else touches them; what goes wrong there is raised by the next
    call.
    """

    def __init__(
        self,
        scene: Scene,
        tags: Mapping[str, str],
        digest: Callable[[], str],
        hidden: OutputPaths,
        *,
        cells: MapCells,
        min_area: float,
    ) -> None:
        """Create the files.

        Args:
            scene: whose size and place they have.
            tags: of the map, and facts of the polygons.
            digest: of the scene, asked in the thread before the first rows are written; the map is known by it.
            hidden: names to write to; what is there before the answer to `finish` is worthless.
            cells: of the picture, to which the thread adds the rows; they are all there after `finish`.
            min_area: smaller polygons are left out, m2.

        Raises:
            OutputError: a file can't be created.
        """
        self._cells = cells
        self._thread = ThreadPoolExecutor(1, "kda-edge-write")
        self._opened = ExitStack()  # of the thread alone, as GDAL's settings are
        self._map: MapWriter
        self._polygons: PolygonWriter
        self._waiting: deque[Future[None]] = deque()
        try:
            self._thread.submit(self._create, scene, tags, digest, hidden, min_area).result()
        except BaseException:
            self.close()
            raise

    def write(self, layers: NDArray[np.uint8]) -> None:
        """Have rows written after those before them; return when at most `ROWS_WAITING` bands wait for it.

        Args:
            layers: class, probability and qa, (3, h, width).

        Raises:
            SceneError: a polygon has no place on Earth.
            OutputError: a file can't be written.
        """
        self._waiting.append(self._thread.submit(self._write, layers))
        self._wait(ROWS_WAITING)

    def finish(self) -> Future[PolygonSummary]:
        """Have the files completed, and go on meanwhile; the answer comes when they are whole.

        Raises:
            SceneError: a polygon has no place on Earth.
            OutputError: a file can't be written.
        """
        self._wait(0)
        return self._thread.submit(self._complete)

    def close(self) -> None:
        """Close the files, finished or not, and end the thread; never raises."""
        for written in self._waiting:
            written.cancel()
        self._thread.submit(self._opened.close)
        self._thread.shutdown(wait=True)

    def _wait(self, most: int) -> None:
        """Wait until at most so many bands are still to be written."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()

    def _create(
        self, scene: Scene, tags: Mapping[str, str], digest: Callable[[], str], hidden: OutputPaths, min_area: float
    ) -> None:
        opened = self._opened.enter_context
        opened(gdal_session())
        self._map = opened(map_writer(hidden.map, scene, tags, late_tags=lambda: {SCENE_TAG: digest()}))
        self._polygons = opened(PolygonWriter(hidden.polygons, scene, facts=facts_of(tags), min_area=min_area))

    def _write(self, layers: NDArray[np.uint8]) -> None:
        self._map.write(layers)
        self._polygons.add(layers)
        self._cells.add(layers[0])

    def _complete(self) -> PolygonSummary:
        self._map.finish()
        return self._polygons.finish()
