"""Blend weights to compare: what a tile counts for where it overlaps with others, by kind.

All are products of a weight along the rows and one along the columns, so that they are made whole along each axis: at
each pixel those of all tiles add up to 1. `cosine` is the runtime's own, the only one that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.tiling.blend import FLOOR, axis_weights

COSINE: Final = "cosine"
GAUSSIAN: Final = "gaussian"
# equal: the plain mean; linear: a ramp as wide as the overlap; gaussian: as below; middle: the tile alone whose border
# is farther away.
KINDS: Final = (COSINE, "linear", GAUSSIAN, "equal", "middle")
SIGMA_TILES: Final = 0.125  # spread of `gaussian`, in tiles: what MONAI's sliding window takes


def shares_along_axis(
    kind: str, starts: Sequence[int], tile_px: int, overlap_px: int, length_px: int
) -> NDArray[np.float32]:
    """Return which share each tile has in each of its pixels along one axis.

    A side of a tile on the scene's border, where no neighbour takes over, counts as infinitely far away.

    Args:
        kind: one of `KINDS`.
        starts: first pixel of each tile, ascending.
        tile_px: side of a tile.
        overlap_px: least overlap of neighbours.
        length_px: of the scene along this axis.

    Returns:
        (tiles, tile_px), 0 to 1; 0 beyond the scene. Over all tiles the shares of a pixel add up to 1.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in KINDS:
        raise UsageError(f"there are no blend weights {kind!r}; give some of {', '.join(KINDS)}")
    weights = np.zeros((len(starts), length_px))
    for tile, start in enumerate(starts):
        here = slice(start, min(start + tile_px, length_px))
        at_start, at_end = start == 0, start + tile_px >= length_px
        if kind == COSINE:
            along = np.asarray(axis_weights(tile_px, overlap_px, at_start=at_start, at_end=at_end), np.float64)
        else:
            along = _weights(kind, _depth_px(tile_px, at_start=at_start, at_end=at_end), tile_px, overlap_px)
        weights[tile, here] = along[: here.stop - here.start]
    if kind == "middle":  # of tiles that are equally deep the first
        weights = (np.arange(len(starts))[:, None] == weights.argmax(axis=0)).astype(np.float64)
    whole = (weights / weights.sum(axis=0)).astype(np.float32)
    shares = np.zeros((len(starts), tile_px), np.float32)
    for tile, start in enumerate(starts):
        mine = whole[tile, start : start + tile_px]
        shares[tile, : len(mine)] = mine
    return shares


def _depth_px(tile_px: int, *, at_start: bool, at_end: bool) -> NDArray[np.float64]:
    """How far the centre of each of a tile's pixels lies from the nearer of its two sides."""
    from_start = np.arange(tile_px) + 0.5
    return np.minimum(np.inf if at_start else from_start, np.inf if at_end else from_start[::-1]) * np.ones(tile_px)


def _weights(kind: str, depth_px: NDArray[np.float64], tile_px: int, overlap_px: int) -> NDArray[np.float64]:
    if kind == "linear":
        return FLOOR + (1 - FLOOR) * np.minimum(depth_px / overlap_px if overlap_px else 1.0, 1.0) * np.ones(tile_px)
    if kind == GAUSSIAN:
        from_middle_px = tile_px / 2 - np.minimum(depth_px, tile_px / 2)
        return np.exp(-0.5 * (from_middle_px / (SIGMA_TILES * tile_px)) ** 2)
    return np.minimum(depth_px, 2.0 * tile_px) if kind == "middle" else np.ones(tile_px)
