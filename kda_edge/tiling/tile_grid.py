"""The grid of a scene's tiles: pure integers, the same for training's evaluation and for the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kda_edge.errors import UsageError

# Tiles overlap by a quarter of their side unless told otherwise: a choice. `kda-bench seams` measures what it does.
OVERLAP_SHARE: Final = 4


def default_overlap_px(tile_px: int) -> int:
    """Return by how many pixels neighbouring tiles overlap at least where nobody says otherwise: a quarter of a side.

    Maps, the evaluation of a training, the IoU of a certificate and benchmarks take it, so that figures are of the map.
    """
    return tile_px // OVERLAP_SHARE


@dataclass(frozen=True)
class TileGrid:
    """Square tiles that cover a scene, in reading order.

    Tiles advance by `tile_px - overlap_px`; the last of a row or column is pulled back so that it ends on the scene's
    border. So no tile is a sliver, none occurs twice, and neighbours overlap by `overlap_px` or more. Along a side
    that is shorter than a tile there is one tile, at 0, which reaches beyond the scene.

    Attributes:
        height_px: of the scene, 1 or more.
        width_px: of the scene, 1 or more.
        tile_px: side of a tile, 1 or more.
        overlap_px: least overlap of neighbours, 0 to `tile_px - 1`.

    Raises:
        UsageError: a number outside these ranges.
    """

    height_px: int
    width_px: int
    tile_px: int
    overlap_px: int = 0

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px, self.tile_px) < 1:
            raise UsageError(
                f"a scene of {self.height_px} x {self.width_px} px has no tiles of {self.tile_px} px; "
                "give sides of 1 px or more"
            )
        if not 0 <= self.overlap_px < self.tile_px:
            raise UsageError(
                f"tiles of {self.tile_px} px can't overlap by {self.overlap_px} px; "
                f"choose an overlap from 0 to {self.tile_px - 1} px"
            )

    @property
    def rows(self) -> tuple[int, ...]:
        """First scene row of each row of tiles, ascending."""
        return _starts(self.height_px, self.tile_px, self.overlap_px)

    @property
    def cols(self) -> tuple[int, ...]:
        """First scene column of each column of tiles, ascending."""
        return _starts(self.width_px, self.tile_px, self.overlap_px)

    def finished_at(self, tile_row: int) -> int:
        """Return one past the last scene row that no tile row after this one touches."""
        return self.rows[tile_row + 1] if tile_row + 1 < len(self.rows) else self.height_px

    def tile_rows(self, first_row: int, end_row: int) -> range:
        """Return which rows of tiles touch the scene's rows from first_row up to end_row, indices into `rows`.

        Raises:
            UsageError: the scene has no such rows.
        """
        if not 0 <= first_row < end_row <= self.height_px:
            raise UsageError(f"a scene of {self.height_px} rows has no rows {first_row} to {end_row - 1}")
        rows = self.rows
        first = next(i for i, row in enumerate(rows) if row + self.tile_px > first_row)
        return range(first, next((i for i, row in enumerate(rows) if row >= end_row), len(rows)))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (row, col) of each tile's upper left pixel, row by row."""
        cols = self.cols
        for row in self.rows:
            for col in cols:
                yield row, col

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)


def _starts(length_px: int, tile_px: int, overlap_px: int) -> tuple[int, ...]:
    last = max(length_px - tile_px, 0)
    return (*range(0, last, tile_px - overlap_px), last)
