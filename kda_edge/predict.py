"""Tiled prediction as a stream: rows of a scene in, finished rows of probability out.

The one way from tiles to a map. Training's evaluation and the runtime both call it, so that what is measured is what
ships.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.blend import BandBlender, axis_weights
from kda_edge.errors import EngineError
from kda_edge.nodata import fill_nodata, pad_to_tile
from kda_edge.tiles import TileGrid

# Rounding may carry a sigmoid or a sum of exponentials this far past 0 or 1; more is a broken engine. Unmeasured.
RANGE_SLACK: Final = 1e-4

# Raw pixels (N, C, T, T) to landslide probability (N, 1, T, T), 0..1.
Engine: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Progress: TypeAlias = Callable[[int, int], None]  # tiles done, tiles in all


class Pixels(NamedTuple):
    """What a window of a source holds.

    Attributes:
        image: (H, W, C).
        valid: (H, W), True where the image has data; never where `lost` is True.
        lost: (H, W), True where the pixels could not be read; None: all could.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    lost: NDArray[np.bool_] | None = None


class Source(Protocol):
    """Whatever can be read by rows and columns."""

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return what a window holds; the ends are excluded. A pixel with a NaN or an infinity must not be valid."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """An image in memory.

    Attributes:
        image: (H, W, C).
        valid: (H, W), or None where every pixel is; NaN and infinity are never valid.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_] | None = None

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return a window of the image and where it is valid."""
        image = self.image[row0:row1, col0:col1]
        valid = np.ones(image.shape[:2], np.bool_) if self.valid is None else self.valid[row0:row1, col0:col1]
        return Pixels(image, valid & np.isfinite(image).all(axis=2))


@dataclass(frozen=True)
class TileFailure:
    """A tile that the engine did not answer, twice.

    Attributes:
        row_px: the tile's first row.
        col_px: the tile's first column.
        reason: what went wrong, one line.
    """

    row_px: int
    col_px: int
    reason: str


@dataclass(frozen=True)
class Band:
    """Finished rows of a scene, over its whole width.

    Attributes:
        row_px: the first row.
        probability: of landslide, (h, W), 0..1; NaN where a pixel is not valid or no tile answered for it.
        failed: (h, W), True where a failed tile lies, also where a neighbour answered for it.
        failures: the tiles that begin in this band and failed.
    """

    row_px: int
    probability: NDArray[np.float32]
    failed: NDArray[np.bool_]
    failures: tuple[TileFailure, ...]


def predict(
    source: Source, grid: TileGrid, engine: Engine, *, batch: int = 1, progress: Progress | None = None
) -> Iterator[Band]:
    """Yield the scene's rows from top to bottom as soon as no further tile touches them.

    Each row of the source is read once, in order. Memory is that of one row of tiles, whatever the scene's height.
    Pixels that are not valid are filled from their neighbours, scenes smaller than a tile are padded by reflection;
    a tile without any valid pixel never reaches the engine.

    Args:
        source: of the grid's size.
        grid: where the tiles lie.
        engine: called with (N, C, T, T), N from 1 to batch.
        batch: most tiles a call.
        progress: called after each tile.

    Raises:
        EngineError: not one tile was answered. A single failed tile is retried once and then marked in its band.
    """
    rows, cols, tile_px = grid.rows, grid.cols, grid.tile_px
    blender = BandBlender(min(tile_px, grid.height_px), grid.width_px)
    col_weights = [_weights(grid, col, grid.width_px) for col in cols]
    image, valid, _ = source.read(0, min(tile_px, grid.height_px), 0, grid.width_px)
    done, asked, failures_in_all = 0, 0, 0
    last_reason = ""

    for row, next_row in zip(rows, (*rows[1:], grid.height_px), strict=True):
        row_weights = _weights(grid, row, grid.height_px)
        with_data = [i for i, col in enumerate(cols) if valid[:, col : col + tile_px].any()]
        failures: list[TileFailure] = []
        done += len(cols) - len(with_data)
        if progress is not None:
            progress(done, len(grid))
        for first in range(0, len(with_data), batch):
            chosen = with_data[first : first + batch]
            tiles = np.stack([_tile(image, valid, cols[i], tile_px) for i in chosen])
            for i, answer in zip(chosen, _answers(engine, tiles), strict=True):
                h, w = len(row_weights), len(col_weights[i])
                if isinstance(answer, str):
                    failures.append(TileFailure(row, cols[i], answer))
                    blender.fail(h, w, cols[i])
                else:
                    blender.add(answer[:h, :w], row_weights, col_weights[i], cols[i])
            done += len(chosen)
            if progress is not None:
                progress(done, len(grid))
        asked += len(with_data)
        failures_in_all += len(failures)
        last_reason = failures[-1].reason if failures else last_reason

        finished_px = next_row - row
        probability, failed = blender.take(finished_px)
        probability[~valid[:finished_px]] = np.nan
        yield Band(row, probability, failed, tuple(failures))

        if next_row < grid.height_px:
            below = source.read(row + len(row_weights), min(next_row + tile_px, grid.height_px), 0, grid.width_px)
            image = np.concatenate([image[finished_px:], below[0]])
            valid = np.concatenate([valid[finished_px:], below[1]])

    if asked and failures_in_all == asked:
        raise EngineError(
            f"the engine failed on all {asked} tiles ({last_reason}); export the model again with kda-export"
        )


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


def _tile(image: NDArray[Any], valid: NDArray[np.bool_], col_px: int, tile_px: int) -> NDArray[np.float32]:
    """Return the tensor (C, T, T) of one tile."""
    cols = slice(col_px, col_px + tile_px)
    whole = pad_to_tile(fill_nodata(image[:, cols], valid[:, cols]), tile_px)
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity; the declared range clips it
        return np.ascontiguousarray(whole.transpose(2, 0, 1), dtype=np.float32)


def _answers(engine: Engine, tiles: NDArray[np.float32]) -> list[NDArray[np.float32] | str]:
    """Return each tile's probability (T, T), or why there is none after a second try on its own."""
    first = _attempt(engine, tiles)
    return [_attempt(engine, tiles[i : i + 1])[0] if isinstance(a, str) else a for i, a in enumerate(first)]


def _attempt(engine: Engine, tiles: NDArray[np.float32]) -> Sequence[NDArray[np.float32] | str]:
    expected = (len(tiles), 1, *tiles.shape[2:])
    try:
        output = np.asarray(engine(tiles), np.float32)
    except Exception as error:  # whatever an engine throws: the tile is failed, never background
        reason = (str(error).splitlines() or [""])[0]
        return [f"{type(error).__name__}: {reason}"] * len(tiles)
    if output.shape != expected:
        return [f"output of shape {output.shape} instead of {expected}"] * len(tiles)
    return [_checked(probability) for probability in output[:, 0]]


def _checked(probability: NDArray[np.float32]) -> NDArray[np.float32] | str:
    low, high = float(probability.min()), float(probability.max())  # NaN if any pixel is
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):
        return f"output from {low:g} to {high:g} is no probability"
    return np.clip(probability, 0, 1)
