"""Tiled prediction as a stream: rows of a scene in, finished rows of probability out.

The one way from tiles to a map. Training's evaluation calls it; the runtime composes the same parts with threads
between them, so that what is measured is what ships.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError
from kda_edge.tiling.blend import BandBlender, axis_weights
from kda_edge.tiling.pixels import ArraySource, Source
from kda_edge.tiling.tile_answers import Answer, Engine, answers_of
from kda_edge.tiling.tile_grid import TileGrid
from kda_edge.tiling.tile_stream import Masks, Step, TileFailure, rows_of, tile_steps

Progress: TypeAlias = Callable[[int, int], None]  # tiles done, tiles in all


@dataclass(frozen=True)
class Band:
    """Finished rows of a scene, over its whole width.

    Attributes:
        row_px: the first row.
        probability: of landslide, (h, W), 0..1; NaN where a pixel is not valid or no tile answered for it.
        failed: (h, W), True where a failed tile lies, also where a neighbour answered for it.
        failures: the tiles that begin in this band and have no answer.
        asked: the tiles that begin in this band and that the engine was given.
        answered: the tiles among them that it answered.
        masks: which of its pixels, and of those around it, have data.
    """

    row_px: int
    probability: NDArray[np.float32]
    failed: NDArray[np.bool_]
    failures: tuple[TileFailure, ...]
    asked: int
    answered: int
    masks: Masks


class Bands:
    """Blends what an engine says of steps, in their order, into finished bands.

    A band's probability and failed are not its own: they hold until the next step.
    """

    def __init__(self, grid: TileGrid) -> None:
        self._grid = grid
        self._blender = BandBlender(min(grid.tile_px, grid.height_px), grid.width_px)
        self._failures: list[TileFailure] = []
        self._asked = self._answered = 0

    def add(self, step: Step, answers: Sequence[Answer]) -> Band | None:
        """Blend in a step, and return the band that it finishes, if it does."""
        grid = self._grid
        row = grid.rows[step.tile_row]
        row_weights = _weights(grid, row, grid.height_px)
        for col, answer in zip(step.cols_px, answers, strict=True):
            if isinstance(answer, str):
                self._fail(TileFailure(row, col, answer))
                continue
            col_weights = _weights(grid, col, grid.width_px)
            self._blender.add(answer[: len(row_weights), : len(col_weights)], row_weights, col_weights, col)
            self._answered += 1
        for failure in step.unreadable:
            self._fail(failure)
        self._asked += len(step.cols_px)
        return None if step.finished is None else self._finish(row, grid.finished_at(step.tile_row), step.finished)

    def _fail(self, failure: TileFailure) -> None:
        self._failures.append(failure)
        self._blender.fail(self._grid.tile_px, self._grid.tile_px, failure.col_px)

    def _finish(self, row: int, next_row: int, masks: Masks) -> Band:
        probability, failed = self._blender.take(next_row - row)
        np.putmask(probability, ~masks.valid[masks.here], np.nan)
        band = Band(row, probability, failed, tuple(self._failures), self._asked, self._answered, masks)
        self._failures, self._asked, self._answered = [], 0, 0
        return band


def predict(
    source: Source, grid: TileGrid, engine: Engine, *, batch: int = 1, progress: Progress | None = None
) -> Iterator[Band]:
    """Yield the scene's rows from top to bottom as soon as no further tile touches them.

    Each row of the source is read once, in order. Memory is that of one row of tiles, whatever the scene's height.
    Pixels that are not valid are filled from their neighbours, scenes smaller than a tile are padded by reflection;
    a tile without any valid pixel never reaches the engine, and one with a lost pixel has failed.

    Args:
        source: of the grid's size.
        grid: where the tiles lie.
        engine: called with (N, C, T, T), N from 1 to batch.
        batch: most tiles a call.
        progress: called after each call of the engine and at the end of each row of tiles.

    Raises:
        EngineError: not one tile was answered. A single failed tile is retried once and then marked in its band.
    """
    bands = Bands(grid)
    asked = answered = 0
    last_reason = ""
    steps = tile_steps(rows_of(source, grid.width_px), grid, batch=batch)
    for step in counted(steps, grid, range(len(grid.rows)), progress):
        band = bands.add(step, answers_of(engine, step.tiles))
        if band is not None:
            asked, answered = asked + band.asked, answered + band.answered
            last_reason = band.failures[-1].reason if band.failures else last_reason
            yield replace(band, probability=band.probability.copy(), failed=band.failed.copy())
    if asked and not answered:
        raise no_answer(asked, last_reason)


def counted(steps: Iterator[Step], grid: TileGrid, tile_rows: range, progress: Progress | None) -> Iterator[Step]:
    """Yield the steps of some rows of tiles, and tell after each how many of their tiles are done."""
    done = 0
    for step in steps:
        yield step
        finished = len(grid.cols) * (step.tile_row + 1 - tile_rows.start)
        done = done + len(step.cols_px) if step.finished is None else finished
        if progress is not None:
            progress(done, len(grid.cols) * len(tile_rows))


def no_answer(tiles: int, reason: str) -> EngineError:
    """Return the error of an engine that answered none of the tiles that it was given."""
    which = "the only tile" if tiles == 1 else f"all {tiles} tiles"
    return EngineError(f"the engine failed on {which} ({reason}); export the model again with kda-export")


def predict_array(
    image: NDArray[Any], valid: NDArray[np.bool_] | None, engine: Engine, tile_px: int, overlap_px: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Predict an image in memory as a scene is predicted.

    Args:
        image: (H, W, C), sides of 1 px or more, raw pixels.
        valid: (H, W), or None where every pixel is.
        engine: see `Engine`.
        tile_px: side of a tile.
        overlap_px: least overlap of neighbours.

    Returns:
        Probability, (H, W), 0..1, NaN where a pixel is not valid or no tile answered for it; and where a failed tile
        lies, (H, W).

    Raises:
        EngineError: not one tile was answered.
    """
    grid = TileGrid(image.shape[0], image.shape[1], tile_px, overlap_px)
    bands = list(predict(ArraySource(image, valid), grid, engine))
    return np.concatenate([band.probability for band in bands]), np.concatenate([band.failed for band in bands])


def _weights(grid: TileGrid, start_px: int, length_px: int) -> NDArray[np.float32]:
    """Weights of the part of a tile that lies in the scene, along one axis."""
    end_px = start_px + grid.tile_px
    weights = axis_weights(grid.tile_px, grid.overlap_px, at_start=start_px == 0, at_end=end_px >= length_px)
    return weights[: length_px - start_px]
