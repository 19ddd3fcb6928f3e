"""Maps of a scene in memory: each tile asked once, blended in several ways at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError, SceneError
from kda_edge.tiling.pixels import Source
from kda_edge.tiling.tile_answers import Engine, answers_of
from kda_edge.tiling.tile_stream import rows_of, tile_steps

from .blend_weights import shares_along_axis
from .tile_lines import MovedGrid

# A tile's first row and column, and its probability, (h, w), without what lies beyond the scene.
Seen: TypeAlias = Callable[[int, int, NDArray[np.float32]], None]


@dataclass(frozen=True)
class Blended:
    """Maps of one scene from the same tiles.

    Attributes:
        probability: by kind of weights, (H, W), 0..1; meaningless where a pixel is not valid.
        valid: (H, W), where the scene has data.
        tiles: that the engine was given; tiles without data are not.
    """

    probability: dict[str, NDArray[np.float32]]
    valid: NDArray[np.bool_]
    tiles: int


def blended_maps(
    source: Source,
    grid: MovedGrid,
    engine: Engine,
    kinds: Sequence[str],
    *,
    batch: int = 1,
    seen: Seen | None = None,
) -> Blended:
    """Return the map of a scene for each kind of blend weights, tiles cut, filled and asked as the runtime does it.

    Memory: four bytes a pixel and kind, and one for the mask; the scene itself is read row of tiles by row of tiles.

    Args:
        source: of the grid's size.
        grid: where the tiles lie.
        engine: see `Engine`.
        kinds: of blend weights, some of `KINDS`.
        batch: most tiles a call.
        seen: called with each tile's answer.

    Raises:
        EngineError: a tile has no answer: a map with holes can't be compared.
        SceneError: a part of the scene can't be read.
        UsageError: there is no such kind.
    """
    rows, cols = grid.rows, grid.cols
    shares = {
        kind: (
            shares_along_axis(kind, rows, grid.tile_px, grid.overlap_px, grid.height_px),
            shares_along_axis(kind, cols, grid.tile_px, grid.overlap_px, grid.width_px),
        )
        for kind in kinds
    }
    number_of = {col: number for number, col in enumerate(cols)}
    maps = {kind: np.zeros((grid.height_px, grid.width_px), np.float32) for kind in kinds}
    valid = np.zeros((grid.height_px, grid.width_px), np.bool_)
    tiles = 0
    for step in tile_steps(rows_of(source, grid.width_px), grid, batch=batch):
        row = rows[step.tile_row]
        if step.unreadable:
            raise SceneError(f"{step.unreadable[0].reason}; copy the scene again from its source")
        for col, answer in zip(step.cols_px, answers_of(engine, step.tiles), strict=True):
            if isinstance(answer, str):
                raise EngineError(
                    f"the tile at row {row}, column {col} failed ({answer}); a map with holes can't be compared"
                )
            here = np.s_[row : row + grid.tile_px, col : col + grid.tile_px]
            height_px, width_px = valid[here].shape
            inside = answer[:height_px, :width_px]
            for kind, (down, across) in shares.items():
                weights = np.outer(down[step.tile_row, :height_px], across[number_of[col], :width_px])
                maps[kind][here] += weights * inside
            if seen is not None:
                seen(row, col, inside)
            tiles += 1
        if step.finished is not None:
            masks = step.finished
            valid[row : grid.finished_at(step.tile_row)] = masks.valid[masks.here]
    return Blended(maps, valid, tiles)
