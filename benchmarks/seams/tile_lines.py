"""Grids of tiles that are moved against one another, and how far a pixel lies from the borders of their tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.tiling.tile_grid import TileGrid


@dataclass(frozen=True)
class MovedGrid(TileGrid):
    """The grid of a scene's tiles, moved down and to the right.

    A scene's border stays where it is: tiles of the first and the last row and column end on it, as in any grid. What
    moves is all in between.

    Attributes:
        moved_px: by how much, 0 to less than the step from tile to tile; 0 is the runtime's own grid.

    Raises:
        UsageError: a number outside these ranges.
    """

    moved_px: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.moved_px < self.step_px:
            raise UsageError(
                f"a grid that steps by {self.step_px} px can't be moved by {self.moved_px} px; "
                f"choose 0 to {self.step_px - 1} px"
            )

    @property
    def step_px(self) -> int:
        """From a tile to the next."""
        return self.tile_px - self.overlap_px

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """First scene row of each row of tiles, ascending."""
        return self._starts(self.height_px)

    @cached_property
    def cols(self) -> tuple[int, ...]:
        """First scene column of each column of tiles, ascending."""
        return self._starts(self.width_px)

    def _starts(self, length_px: int) -> tuple[int, ...]:
        last = max(length_px - self.tile_px, 0)
        return tuple(sorted({0, *range(self.moved_px, last, self.step_px), last}))


def half_a_step(grid: MovedGrid) -> MovedGrid:
    """Return the grid moved by half a step: as far as a grid can be, since by a whole step it is itself again."""
    return MovedGrid(grid.height_px, grid.width_px, grid.tile_px, grid.overlap_px, grid.step_px // 2)


def border_distance_px(grids: Sequence[MovedGrid]) -> NDArray[np.float32]:
    """Return how far each pixel's centre lies from the nearest border of a tile, along a row or a column.

    Where tiles end on the scene's border, as in each of the grids, that is no border of a tile.

    Args:
        grids: of one scene and one size of tile, one or more.

    Returns:
        (H, W), 0.5 px or more; infinite where no tile of the row or the column of tiles has such a border.
    """
    first = grids[0]
    down = _distance_px([start for grid in grids for start in grid.rows], first.tile_px, first.height_px)
    across = _distance_px([start for grid in grids for start in grid.cols], first.tile_px, first.width_px)
    return np.minimum(down[:, None], across[None, :])


def _distance_px(starts: Sequence[int], tile_px: int, length_px: int) -> NDArray[np.float32]:
    centres = np.arange(length_px, dtype=np.float32) + np.float32(0.5)
    distance = np.full(length_px, np.inf, np.float32)
    for line in {start + side for start in starts for side in (0, tile_px)}:
        if 0 < line < length_px:
            distance = np.minimum(distance, np.abs(centres - np.float32(line)))
    return distance
