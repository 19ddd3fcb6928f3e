"""Blending of overlapping tiles: smooth weights that are never 0, and a running mean over one band of tiles."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

# Floor of the weight along one axis. A tile's corner has its square, 1.6e-3: far above float32's noise, so the
# division stays exact there, and far below 1, so no seam shows. The value itself is a choice, not a measurement.
FLOOR: Final = 0.04


@functools.lru_cache(16)
def axis_weights(tile_px: int, overlap_px: int, *, at_start: bool, at_end: bool) -> NDArray[np.float32]:
    """Weights of a tile's pixels along one axis: 1 inside, a raised cosine down to `FLOOR` within the overlap.

    Args:
        tile_px: side of the tile.
        overlap_px: width of each ramp, 0 for none.
        at_start: the tile begins on the scene's border, where no neighbour takes over: no ramp on that side.
        at_end: the tile ends on the scene's border or beyond: no ramp on that side.

    Returns:
        (tile_px,), `FLOOR` to 1, the same array each time, not to be written to.
    """
    distance: NDArray[np.float64] = (
        np.arange(tile_px, dtype=np.float64) + 0.5
    )  # from the tile's side to the pixel's centre

    def ramp(distance_px: NDArray[np.float64]) -> NDArray[np.float64]:
        share = np.minimum(distance_px / overlap_px, 1.0) if overlap_px else np.ones(tile_px)
        return FLOOR + (1 - FLOOR) * np.sin(share * (np.pi / 2)) ** 2

    weights = np.ones(tile_px)
    if not at_start:
        weights = np.minimum(weights, ramp(distance))
    if not at_end:
        weights = np.minimum(weights, ramp(distance[::-1]))
    rounded = weights.astype(np.float32)
    rounded.flags.writeable = False
    return rounded


class BandBlender:
    """Weighted mean of tiles within a band of rows as high as a tile, which moves down the scene.

    The mean runs: each tile pulls it by its exact share of the weight so far. Where tiles agree the result is what
    they said, to the last bit, and it never leaves the range of what they said. Memory depends on the band alone.
    """

    def __init__(self, height_px: int, width_px: int) -> None:
        """Start with a band of height_px rows in which nothing is known."""
        self._mean = np.zeros((height_px, width_px), np.float32)
        self._weight = np.zeros((height_px, width_px), np.float32)
        self._failed = np.zeros((height_px, width_px), np.bool_)
        self._taken_px = 0

    def add(
        self,
        probability: NDArray[np.float32],
        row_weights: NDArray[np.float32],
        col_weights: NDArray[np.float32],
        col_px: int,
    ) -> None:
        """Blend in a tile that begins at the band's first row.

        Args:
            probability: (h, w), cropped to the scene.
            row_weights: (h,), above 0.
            col_weights: (w,), above 0.
            col_px: the tile's first column.
        """
        self._move()
        here = np.s_[: probability.shape[0], col_px : col_px + probability.shape[1]]
        mean, total, share = self._mean[here], self._weight[here], np.outer(row_weights, col_weights)
        total += share
        share /= total
        share *= probability - mean
        mean += share

    def fail(self, height_px: int, width_px: int, col_px: int) -> None:
        """Note that a tile of this extent, at the band's first row, has no answer."""
        self._move()
        self._failed[:height_px, col_px : col_px + width_px] = True

    def take(self, rows_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the first rows, which no later tile touches, and move the band down behind them with the next call.

        Returns:
            Probability, (rows_px, width), NaN where no tile answered; and where a failed tile lies, same shape. Both
            are the band's own memory: to be used, or changed, until its next call.
        """
        self._move()
        self._taken_px = rows_px
        mean = self._mean[:rows_px]
        np.putmask(mean, self._weight[:rows_px] == 0, np.nan)
        return mean, self._failed[:rows_px]

    def _move(self) -> None:
        gone_px, self._taken_px = self._taken_px, 0
        if gone_px:
            for array in (self._mean, self._weight, self._failed):
                array[:-gone_px] = array[gone_px:]
                array[-gone_px:] = 0
