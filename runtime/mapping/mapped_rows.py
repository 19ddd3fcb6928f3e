"""Rows of a map from an open scene: reading, inference and what comes after it, all at once and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from kda_edge.manifest import Manifest
from kda_edge.tiling.predict import Band, Bands, Progress, counted, no_answer
from kda_edge.tiling.tile_answers import Answer, Engine, answers_of
from kda_edge.tiling.tile_grid import TileGrid
from kda_edge.tiling.tile_stream import Step, rows_needed, tile_steps

from ..map_format import HALO_PX, NODATA, NODATA_BYTE, class_bytes, probability_bytes
from ..scenes.read_ahead import OpenSource, ReadPlan, Seen, rows_ahead
from .qa_band import halo_rows, qa_rows
from .rows import Counts, MappedRows, Rows

READERS: Final = 2
ROWS_PX: Final = 2**21  # pixels that are handed out at once, about: what their user makes of them stays small
SLICE_PX: Final = 2**18  # pixels made into bytes at once: what is in between stays in the processor's cache
STEPS_AHEAD: Final = 2  # batches that are ready before the engine asks
STEPS_BEHIND: Final = 1  # answers that wait to be blended

_T = TypeVar("_T")


@dataclass(frozen=True)
class Bounds:
    """What may be in memory at once.

    Attributes:
        batch: most tiles a call of the engine.
        readers: threads that read, each with a handle of its own.
        windows_ahead: most windows of the scene that are read before they are needed.
    """

    batch: int = 1
    readers: int = READERS
    windows_ahead: int = READERS + 1


def mapped_rows(
    open_source: OpenSource,
    grid: TileGrid,
    engine: Engine,
    manifest: Manifest,
    *,
    block_hw: tuple[int, int] = (1, 1),
    wanted: Rows | None = None,
    bounds: Bounds = Bounds(),
    progress: Progress | None = None,
    finished: Callable[[MappedRows], None] | None = None,
    seen: Seen | None = None,
) -> Generator[MappedRows, None, None]:
    """Yield the map of some rows of a scene, from top to bottom, bit for bit as a run over the whole scene has them.

    Only tiles that touch these rows are computed. Threads read and prepare the next tiles and blend the last ones while
    the engine works; how many there are changes no byte, and they are gone when the generator ends or is closed.

    Args:
        open_source: opens the scene; called once in each reader's thread, within a GDAL session.
        grid: where the tiles of the whole scene lie.
        engine: takes the scene's raw pixels; called in the thread that iterates.
        manifest: of the model behind the engine.
        block_hw: sides of the blocks that the scene is stored in.
        wanted: rows to yield; None: all of the scene's.
        bounds: of what is in memory at once.
        progress: called with tiles done and tiles in all, of those that touch these rows.
        finished: called with rows before they are yielded, in the thread that has blended them, so that the engine is
            not kept waiting; what it raises is raised here.
        seen: called with each window of the scene as it was read, in reading order, in the thread that cuts tiles.

    Raises:
        SceneError: the scene can't be read.
        EngineError: the rows are the whole scene, and the engine answered not one tile. Of a part, `answered_tiles`
            tells.
        UsageError: no such rows.
    """
    whole = Rows(0, grid.height_px)
    wanted = whole if wanted is None else wanted
    tile_rows = grid.tile_rows(wanted.first, wanted.end)
    windows = ReadPlan.for_blocks(block_hw).windows(*rows_needed(grid, tile_rows, HALO_PX), grid.width_px)
    with (
        _thread("kda-edge-prepare") as preparing,
        rows_ahead(open_source, windows, readers=bounds.readers, ahead=bounds.windows_ahead, seen=seen) as rows,
        _thread("kda-edge-blend") as blending,
    ):
        blender = _RowBlender(grid, manifest.threshold, wanted, rows.warnings, finished or (lambda _: None))
        steps = tile_steps(rows, grid, batch=bounds.batch, tile_rows=tile_rows, halo_px=HALO_PX)
        behind: deque[Future[list[MappedRows]]] = deque()
        for step in counted(_ahead(preparing, steps), grid, tile_rows, progress):
            behind.append(blending.submit(blender, step, answers_of(engine, step.tiles)))
            yield from _finished(behind, STEPS_BEHIND)
        yield from _finished(behind, 0)
    if blender.asked and not blender.answered and wanted == whole:
        raise no_answer(blender.asked, blender.reason)


class _RowBlender:
    """Blends step after step and makes bytes of the bands that come out."""

    def __init__(
        self,
        grid: TileGrid,
        threshold: float,
        wanted: Rows,
        warnings: Sequence[str],
        finished: Callable[[MappedRows], None],
    ) -> None:
        self._grid, self._threshold, self._wanted, self._warnings = grid, threshold, wanted, warnings
        self._finished = finished
        self._bands = Bands(grid)
        self.asked = self.answered = 0
        self.reason = ""  # of the last failure

    def __call__(self, step: Step, answers: Sequence[Answer]) -> list[MappedRows]:
        """Return the wanted rows among those that a step finishes."""
        band = self._bands.add(step, answers)
        if band is None:
            return []
        self.asked, self.answered = self.asked + band.asked, self.answered + band.answered
        self.reason = band.failures[-1].reason if band.failures else self.reason
        first, end = max(band.row_px, self._wanted.first), min(band.row_px + len(band.failed), self._wanted.end)
        step_px = max(ROWS_PX // self._grid.width_px, 1)
        parts = []
        for row in range(first, end, step_px):
            parts.append(self._rows(band, row, min(row + step_px, end)))
            self._finished(parts[-1])
        return parts

    def _rows(self, band: Band, row0: int, row1: int) -> MappedRows:
        grid, masks = self._grid, band.masks
        inside = slice(row0 - band.row_px, row1 - band.row_px)
        mask0, mask1 = (row - band.row_px + masks.here.start for row in halo_rows(row0, row1, grid.height_px))
        lost = None if masks.lost is None else masks.lost[mask0:mask1]
        layers = np.empty((3, row1 - row0, grid.width_px), np.uint8)
        layers[2] = qa_rows(masks.valid[mask0:mask1], band.failed[inside], row0, grid.height_px, lost=lost)
        probability = band.probability[inside]
        step_px = max(SLICE_PX // grid.width_px, 1)
        for row in range(0, row1 - row0, step_px):
            some = slice(row, row + step_px)
            layers[0, some] = class_bytes(probability[some], self._threshold)
            layers[1, some] = probability_bytes(probability[some])
        nodata_px = int(np.count_nonzero(layers[2] & NODATA))
        lost_px = 0 if masks.lost is None else int(np.count_nonzero(masks.lost[masks.here][inside]))
        begin_here = row0 == band.row_px
        return MappedRows(
            row_px=row0,
            layers=layers,
            counts=Counts(
                valid_px=layers[0].size - nodata_px - lost_px,
                landslide_px=int(np.count_nonzero(layers[0] == 1)),
                unknown_px=int(np.count_nonzero(layers[0] == NODATA_BYTE)) - nodata_px,
                tiles=len(grid.cols) if begin_here else 0,
                asked_tiles=band.asked if begin_here else 0,
                answered_tiles=band.answered if begin_here else 0,
            ),
            failures=band.failures if begin_here else (),
            warnings=tuple(self._warnings),
        )


@contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """One thread that works in the order in which it is asked. What it has not begun at the end is left out."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield thread
    finally:
        thread.shutdown(wait=True, cancel_futures=True)


def _finished(behind: deque[Future[list[MappedRows]]], most: int) -> Iterator[MappedRows]:
    """Yield what steps have finished, in their order, until at most so many are under way."""
    while behind and (len(behind) > most or behind[0].done()):
        yield from behind.popleft().result()


def _ahead(thread: ThreadPoolExecutor, items: Iterator[_T]) -> Iterator[_T]:
    """Yield items that a thread makes, the next ones while the last one is used."""
    waiting = deque(thread.submit(next, items, None) for _ in range(STEPS_AHEAD))
    while (item := waiting.popleft().result()) is not None:
        waiting.append(thread.submit(next, items, None))
        yield item
