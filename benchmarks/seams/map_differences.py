"""Differences of two maps of one scene: class flips and differences of probability, also by distance in pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Differences:
    """How far two maps lie apart.

    Attributes:
        pixels: that were compared.
        flips: share of them with another class, 0..1.
        mean_abs: mean difference of probability, 0..1.
        max_abs: largest difference of probability, 0..1.
        iou: intersection over union of what both call landslide, 0..1; 1 where neither finds any.
    """

    pixels: int
    flips: float
    mean_abs: float
    max_abs: float
    iou: float


@dataclass
class DistanceCurve:
    """Sums of differences by whole pixels of distance, which grow with each addition.

    Attributes:
        threshold: probability from which a pixel counts as landslide.
    """

    threshold: float
    _pixels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _flips: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _abs: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(
        self,
        one: NDArray[np.float32],
        other: NDArray[np.float32],
        distance_px: NDArray[np.float32],
        counted: NDArray[np.bool_],
    ) -> None:
        """Add pixels of two maps, all arguments of the same shape.

        Args:
            one: probability, 0..1.
            other: likewise.
            distance_px: 0 or more; infinite ones are left out.
            counted: which pixels count.
        """
        chosen = counted & np.isfinite(distance_px)
        whole_px = distance_px[chosen].astype(np.intp)
        mine, its = one[chosen], other[chosen]
        flipped = _is_landslide(mine, self.threshold) != _is_landslide(its, self.threshold)
        self._pixels = _sum(self._pixels, np.bincount(whole_px))
        self._flips = _sum(self._flips, np.bincount(whole_px, flipped))
        self._abs = _sum(self._abs, np.bincount(whole_px, np.abs(mine - its)))

    def __iter__(self) -> Iterator[tuple[int, int, float, float]]:
        """Yield, for each whole pixel of distance: it, how many pixels lie there, share of flips, mean difference."""
        for distance_px, (pixels, flips, apart) in enumerate(zip(self._pixels, self._flips, self._abs, strict=True)):
            if pixels:
                yield distance_px, int(pixels), float(flips / pixels), float(apart / pixels)

    def within(self, first_px: int, end_px: int | None = None) -> tuple[float, float] | None:
        """Return share of flips and mean difference from a distance up to another; None where no pixel lies there."""
        here = slice(first_px, end_px)
        pixels = self._pixels[here].sum()
        return (float(self._flips[here].sum() / pixels), float(self._abs[here].sum() / pixels)) if pixels else None


def differences_of(
    one: NDArray[np.float32], other: NDArray[np.float32], counted: NDArray[np.bool_], threshold: float
) -> Differences:
    """Compare two maps.

    Args:
        one: probability, (H, W), 0..1.
        other: likewise.
        counted: (H, W), which pixels count, one or more.
        threshold: probability from which a pixel counts as landslide.
    """
    mine, its = one[counted], other[counted]
    found, also = _is_landslide(mine, threshold), _is_landslide(its, threshold)
    apart = np.abs(mine - its)
    either = int(np.count_nonzero(found | also))
    return Differences(
        pixels=len(mine),
        flips=float(np.mean(found != also)),
        mean_abs=float(apart.mean(dtype=np.float64)),
        max_abs=float(apart.max()),
        iou=int(np.count_nonzero(found & also)) / either if either else 1.0,
    )


def _is_landslide(probability: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    return np.asarray(probability >= np.float32(threshold))


def _sum(so_far: NDArray[np.float64], more: NDArray[np.float64] | NDArray[np.intp]) -> NDArray[np.float64]:
    total = np.zeros(max(len(so_far), len(more)))
    total[: len(so_far)] += so_far
    total[: len(more)] += more
    return total
