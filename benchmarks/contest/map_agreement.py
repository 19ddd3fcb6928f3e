"""Agreement of two maps: where they are not of the same thing, a comparison of times is worth nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.tiling.tile_grid import TileGrid

NODATA_BYTE: Final = 255
MOST_MEAN_ABS: Final = 0.02  # of half precision or integers against float32; other networks are far beyond. Unmeasured.
MOST_STEPS: Final = 1  # of 1/254: two float32 kernels may fall on two sides of a rounding; measured by the tests


@dataclass(frozen=True)
class Agreement:
    """How far a map lies from ours.

    Attributes:
        alone_px: pixels that one tile alone answers for, of tiles that have data everywhere. No way of blending and
            of filling nodata touches them, so that maps of the same network must agree there.
        alone_max_steps: largest difference of probability there, in steps of 1/254.
        alone_mean_abs: mean difference of probability there, 0..1.
        mean_abs: mean difference of probability over all pixels with data, 0..1: what blending and nodata change.
        same_class: share of pixels with data that have the same class.
        same_valid: whether both call the same pixels valid.
    """

    alone_px: int
    alone_max_steps: int
    alone_mean_abs: float
    mean_abs: float
    same_class: float
    same_valid: bool

    def is_same_network(self, *, exact: bool = True) -> bool:
        """Whether both maps are of the same network on the same tiles; False as well where nothing can tell.

        Args:
            exact: both computed in float32; otherwise one of them rounded, and they may differ a little everywhere.
        """
        near = self.alone_max_steps <= MOST_STEPS if exact else self.alone_mean_abs <= MOST_MEAN_ABS
        return self.same_valid and self.alone_px > 0 and near

    def sentence(self) -> str:
        """Return it as a person reads it."""
        return (
            f"on {self.alone_px:,} px of one tile each at most {self.alone_max_steps} step(s) of 1/254; "
            f"everywhere on average {self.mean_abs:.4f}, same class on {self.same_class:.2%}"
        )


def agreement_of(ours: Path, theirs: Path, *, tile_px: int, overlap_px: int) -> Agreement:
    """Compare two maps whose bands 1 and 2 are class and probability, bytes, 255 nodata.

    Raises:
        UsageError: their sizes differ.
    """
    (our_class, our_probability), (their_class, their_probability) = _layers(ours), _layers(theirs)
    if our_class.shape != their_class.shape:
        raise UsageError(f"{theirs} is of another scene than {ours}: their sizes differ")
    our_valid, their_valid = our_class != NODATA_BYTE, their_class != NODATA_BYTE
    both = our_valid & their_valid
    steps = np.abs(our_probability.astype(np.int16) - their_probability.astype(np.int16))
    alone = alone_in_one_tile(our_valid, tile_px, overlap_px) & both
    count = max(int(both.sum()), 1)
    return Agreement(
        alone_px=int(alone.sum()),
        alone_max_steps=int(steps[alone].max(initial=0)),
        alone_mean_abs=float(steps[alone].sum() / 254 / max(int(alone.sum()), 1)),
        mean_abs=float(steps[both].sum() / 254 / count),
        same_class=float((our_class == their_class)[both].sum() / count),
        same_valid=bool((our_valid == their_valid).all()),
    )


def _layers(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    with open_raster(path) as dataset:
        classes, probability = dataset.read([1, 2])
    return classes, probability


def alone_in_one_tile(valid: NDArray[np.bool_], tile_px: int, overlap_px: int) -> NDArray[np.bool_]:
    """Return the pixels that lie in one tile only, where that tile is whole and has data all over."""
    hits = np.zeros(valid.shape, np.uint8)
    whole = np.zeros(valid.shape, np.bool_)
    for row, col in TileGrid(valid.shape[0], valid.shape[1], tile_px, overlap_px):
        here = np.s_[row : row + tile_px, col : col + tile_px]
        hits[here] += np.minimum(1, 255 - hits[here]).astype(np.uint8)
        whole[here] |= valid[here].shape == (tile_px, tile_px) and bool(valid[here].all())
    whole &= hits == 1
    return whole
