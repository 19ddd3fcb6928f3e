"""Engines whose answers are known in advance: by the place in the scene, or by the place in the tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def first_band(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Answer each pixel with its own first band: the same wherever its tile lies."""
    return tiles[:, :1].copy()


@dataclass(frozen=True)
class RimEngine:
    """Answers `rim` within `rim_px` of a tile's border and `inside` elsewhere, whatever the tile shows."""

    rim_px: int
    inside: float = 0.1
    rim: float = 0.9

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answers = np.full((len(tiles), 1, *tiles.shape[2:]), self.rim, np.float32)
        middle = slice(self.rim_px, tiles.shape[2] - self.rim_px)
        answers[:, :, middle, middle] = self.inside
        return answers


@dataclass(frozen=True)
class SlopeEngine:
    """Adds up to 0.5 to each pixel's first band for its place in the tile, otherwise along rows than along columns."""

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        side_px = tiles.shape[2]
        along = np.linspace(0, 1, side_px, dtype=np.float32)
        return tiles[:, :1] + np.float32(0.3) * along[:, None] ** 2 + np.float32(0.2) * along[None, :]
