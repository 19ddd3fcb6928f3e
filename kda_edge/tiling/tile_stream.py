"""A stream of tiles for an engine, cut from rows of a source, top to bottom: one row of tiles in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile
from kda_edge.tiling.pixels import Pixels, Source, unmasked
from kda_edge.tiling.tile_grid import TileGrid


class Piece(NamedTuple):
    """Pixels and where in the scene their first one lies."""

    row_px: int
    col_px: int
    pixels: Pixels


# Given a first row and one past the last, the pieces that cover these rows, in any order. Rows are asked for once each,
# from top to bottom.
Rows: TypeAlias = Callable[[int, int], Iterable[Piece]]


@dataclass(frozen=True)
class TileFailure:
    """A tile without an answer.

    Attributes:
        row_px: the tile's first row.
        col_px: the tile's first column.
        reason: what went wrong, one line.
    """

    row_px: int
    col_px: int
    reason: str


@dataclass(frozen=True)
class Masks:
    """Which pixels of finished rows, and of the rows around them, have data.

    Attributes:
        valid: (above + h + below, W).
        lost: of the same shape, where the source could not be read; None: nowhere.
        here: the h finished rows among these.
    """

    valid: NDArray[np.bool_]
    lost: NDArray[np.bool_] | None
    here: slice


@dataclass(frozen=True)
class Step:
    """Some tiles of one row of tiles.

    Attributes:
        tile_row: which row of tiles, an index into the grid's `rows`.
        cols_px: the first column of each tile that can be asked for.
        tiles: their pixels, (N, C, T, T), N from 0 to the batch.
        unreadable: tiles of this row that touch lost pixels, in its first step.
        finished: in the last step of a row of tiles, of the scene's rows that no further tile touches; else None.
    """

    tile_row: int
    cols_px: tuple[int, ...]
    tiles: NDArray[np.float32]
    unreadable: tuple[TileFailure, ...] = ()
    finished: Masks | None = None


def rows_of(source: Source, width_px: int) -> Rows:
    """Return the rows of a source, each read when it is asked for."""
    return lambda row0, row1: (Piece(row0, 0, source.read(row0, row1, 0, width_px)),)


def tile_steps(
    rows: Rows, grid: TileGrid, *, batch: int = 1, tile_rows: range | None = None, halo_px: int = 0
) -> Iterator[Step]:
    """Yield the tiles of some rows of tiles in reading order, at least one step each row.

    Pixels that are not valid are filled from their neighbours, tiles beyond the scene are padded by reflection. A tile
    without any valid pixel is left out.

    Args:
        rows: of the source.
        grid: where the tiles lie.
        batch: most tiles in a step.
        tile_rows: which rows of tiles, one after another; None is all.
        halo_px: rows that a step's masks reach beyond the finished rows, where the scene has them.
    """
    starts, cols, tile_px = grid.rows, grid.cols, grid.tile_px
    strip = _Strip(rows, grid.width_px, _strip_rows(grid, halo_px))
    for tile_row in range(len(starts)) if tile_rows is None else tile_rows:
        row, next_row = starts[tile_row], grid.finished_at(tile_row)
        bottom, below = min(row + tile_px, grid.height_px), min(next_row + halo_px, grid.height_px)
        above, end = rows_needed(grid, range(tile_row, tile_row + 1), halo_px)
        strip.move(above, end)
        masks = strip.masks(above, below, slice(row - above, next_row - above))

        asked, unreadable = [], []
        for col in cols:
            reason = strip.loss(row, bottom, col, col + tile_px)
            if reason is not None:
                unreadable.append(TileFailure(row, col, reason))
            elif strip.has_data(row, bottom, col, col + tile_px):
                asked.append(col)
        firsts = range(0, max(len(asked), 1), batch)
        for first in firsts:
            chosen = tuple(asked[first : first + batch])
            tiles = np.empty((len(chosen), strip.bands, tile_px, tile_px), np.float32)
            for tile, col in zip(tiles, chosen, strict=True):
                strip.cut(tile, row, bottom, col)
            yield Step(
                tile_row,
                chosen,
                tiles,
                tuple(unreadable) if first == 0 else (),
                masks if first == firsts[-1] else None,
            )


def rows_needed(grid: TileGrid, tile_rows: range, halo_px: int) -> tuple[int, int]:
    """Return the first row of the scene that these rows of tiles and their masks need, and one past the last."""
    last = tile_rows[-1]
    end = max(grid.rows[last] + grid.tile_px, grid.finished_at(last) + halo_px)
    return max(grid.rows[tile_rows[0]] - halo_px, 0), min(end, grid.height_px)


def _strip_rows(grid: TileGrid, halo_px: int) -> int:
    """Return the most rows that are in memory at once."""
    stride_px = grid.tile_px - grid.overlap_px
    return min(halo_px + max(grid.tile_px, stride_px + halo_px), grid.height_px)


class _Strip:
    """The rows of the scene that a row of tiles and its masks need, band by band as the engine wants them."""

    def __init__(self, rows: Rows, width_px: int, rows_px: int) -> None:
        self._rows, self._width_px, self._rows_px = rows, width_px, rows_px
        self._top = self._end = 0
        self._image: NDArray[Any] = np.empty((0, 0, 0), np.uint8)  # (C, rows_px, width) from the first piece on
        self._valid = np.zeros((rows_px, width_px), np.bool_)
        self._lost: NDArray[np.bool_] | None = None  # until something is

    @property
    def bands(self) -> int:
        return len(self._image)

    def move(self, top: int, end: int) -> None:
        """Let go of the rows above `top` and read on to `end`."""
        first = max(self._end, top)
        kept, gone = max(self._end - top, 0), top - self._top
        if kept and gone:
            for array in (*self._image, self._valid, *(() if self._lost is None else (self._lost,))):
                array[:kept] = array[gone : gone + kept]
        self._top, self._end = top, end
        if self._lost is not None:
            self._lost[kept : end - top] = False
        if first < end:
            for row, col, pixels in self._rows(first, end):
                self._put(row - top, col, pixels)

    def _put(self, row: int, col: int, pixels: Pixels) -> None:
        image, valid, lost = pixels
        image, known = unmasked(image, valid)
        valid = valid if known is None else known
        if self._image.size == 0:
            self._image = np.empty((image.shape[2], self._rows_px, self._width_px), image.dtype)
        here = np.s_[row : row + valid.shape[0], col : col + valid.shape[1]]
        for band in range(self.bands):
            self._image[band][here] = image[..., band]
        self._valid[here] = valid
        if lost is not None and lost.any():
            if self._lost is None:
                self._lost = np.zeros_like(self._valid)
            self._lost[here] = lost

    def masks(self, row0: int, row1: int, here: slice) -> Masks:
        inside = slice(row0 - self._top, row1 - self._top)
        lost = None if self._lost is None or not self._lost[inside].any() else self._lost[inside].copy()
        return Masks(self._valid[inside].copy(), lost, here)

    def has_data(self, row0: int, row1: int, col0: int, col1: int) -> bool:
        return bool(self._valid[row0 - self._top : row1 - self._top, col0:col1].any())

    def loss(self, row0: int, row1: int, col0: int, col1: int) -> str | None:
        """Say which pixels of a window are lost; None where none are."""
        if self._lost is None:
            return None
        lost = self._lost[row0 - self._top : row1 - self._top, col0:col1]
        if not lost.any():
            return None
        rows, cols = np.flatnonzero(lost.any(axis=1)) + row0, np.flatnonzero(lost.any(axis=0)) + col0
        return f"the scene can't be read in rows {rows[0]} to {rows[-1]}, columns {cols[0]} to {cols[-1]}"

    def cut(self, tile: NDArray[np.float32], row0: int, row1: int, col0: int) -> None:
        """Fill a tile (C, T, T) with the pixels from (row0, col0) on."""
        tile_px = tile.shape[2]
        here = np.s_[row0 - self._top : row1 - self._top, col0 : col0 + tile_px]
        image = self._image[:, here[0], here[1]]
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity; the declared range clips it
            if image.shape == tile.shape and self._valid[here].all():
                tile[:] = image
            else:
                whole = pad_to_tile(fill_nodata(image.transpose(1, 2, 0), self._valid[here]), tile_px)
                tile[:] = whole.transpose(2, 0, 1)
