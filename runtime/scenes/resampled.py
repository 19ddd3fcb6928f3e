"""A scene read at another ground sampling distance: pixels are means of their footprints, whatever window is asked for.

GDAL resamples a window by itself, so that pixels near its border depend on where it was cut. Here each pixel is the
same sum in the same order, taken from the source pixels that it covers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.tiling.pixels import Pixels

from .read_ahead import RowSource

CHUNK_PX: Final = 2**20  # source pixels averaged at once, or a row of a block: about 30 MB of sums
NOISE: Final = 1e-6  # of a pixel: overlaps and remainders below are rounding


class Resampled:
    """A source whose pixels are `factor` times as long as another's, from the same upper left corner.

    Coarser pixels are the mean of what they cover, weighed by area. Finer ones are interpolated between the four
    nearest centres. Source pixels without data have no weight. A pixel is valid where more than half of the weight of
    what it covers of the scene is; it is lost where any pixel in it is.

    Attributes:
        height_px: rows; the last one may reach beyond the source.
        width_px: columns; the last one may reach beyond the source.
        block_hw: about the sides of the source's blocks.
    """

    def __init__(self, source: RowSource, factor: float) -> None:
        """Wrap a source.

        Args:
            source: of the original pixels.
            factor: side of a pixel over that of a source pixel, above 0.
        """
        self._source, self._factor = source, factor
        self.height_px = resampled_px(source.height_px, factor)
        self.width_px = resampled_px(source.width_px, factor)
        height, width = source.block_hw
        self.block_hw = max(1, round(height / factor)), max(1, round(width / factor))

    @property
    def warnings(self) -> Sequence[str]:
        """What was odd about the source's pixels so far."""
        return self._source.warnings

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return the pixels of a window, in the source's type (rounded), where they are valid and where lost.

        Raises:
            SceneError: as the source does.
        """
        # Columns of so many blocks that a chunk is a block high: rows of a wide file, a few at a time, would have each
        # of its blocks decoded again and again.
        height, width = self._source.block_hw
        step = max(1, int(max(CHUNK_PX // height // width, 1) * width / self._factor))
        columns = [self._column(row0, row1, col, min(col + step, col1)) for col in range(col0, col1, step)]
        return columns[0] if len(columns) == 1 else _joined(columns, axis=1)

    def _column(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return the pixels of a window, averaged a few rows at a time."""
        across = Taps.of(col0, col1, self._factor, self._source.width_px)
        source_rows = max(1, CHUNK_PX // max(across.end - across.first, 1))
        step = max(1, int(source_rows / self._factor) - 2)
        parts = [
            self._rows(Taps.of(row, min(row + step, row1), self._factor, self._source.height_px), across)
            for row in range(row0, row1, step)
        ]
        return _joined(parts, axis=0)

    def _rows(self, down: Taps, across: Taps) -> Pixels:
        """Return some rows."""
        image, valid, lost = self._source.read(down.first, down.end, across.first, across.end)
        planes = image.transpose(2, 0, 1)
        kind = np.result_type(image.dtype, np.float32)  # 24 bits hold each value of up to 16
        ones = np.broadcast_to(down.sums(np.ones((down.end - down.first, 1), kind), -2), (len(down), valid.shape[1]))
        weight = held = across.sums(ones)  # as the sums of an all valid mask come out, bit for bit
        enough = np.ones(weight.shape, np.bool_)
        if not valid.all():
            planes = np.where(valid, planes, image.dtype.type(0))
            held = across.sums(down.sums(valid.astype(kind), -2))
            enough = held > weight * (0.5 + NOISE)  # half is half, however it was rounded
        total = across.sums(down.sums(planes.astype(kind), -2))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(enough, total / held, 0)
        if image.dtype.kind in "iu":
            limits = np.iinfo(image.dtype)
            mean = np.clip(np.rint(mean), limits.min, limits.max)
        gone = None
        if lost is not None and lost.any():
            gone = across.sums(down.sums(lost.astype(np.float32), -2)) > 0
            enough = enough & ~gone
        return Pixels(mean.astype(image.dtype).transpose(1, 2, 0), enough, gone)


def _joined(parts: Sequence[Pixels], *, axis: int) -> Pixels:
    """Return parts below each other (axis 0) or beside each other (1) as one; the image's planes lie one by one."""
    planes = np.concatenate([part.image.transpose(2, 0, 1) for part in parts], axis=axis + 1)
    lost = [np.zeros(part.valid.shape, np.bool_) if part.lost is None else part.lost for part in parts]
    return Pixels(
        planes.transpose(1, 2, 0),
        np.concatenate([part.valid for part in parts], axis=axis),
        np.concatenate(lost, axis=axis) if any(part.lost is not None for part in parts) else None,
    )


def resampled_px(source_px: int, factor: float) -> int:
    """Return how many pixels of so many times the length cover a side."""
    return max(1, math.ceil(source_px / factor - NOISE))


@dataclass(frozen=True)
class Taps:
    """Which source pixels make up each of n pixels along one axis, and how much of each.

    Attributes:
        index: (n, K), of the source pixel, counted from `first`.
        weight: (n, K), 0 or more.
        first: the first source pixel in use.
        end: one past the last.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float64]
    first: int
    end: int

    @classmethod
    def of(cls, start: int, end: int, factor: float, source_px: int) -> Taps:
        """Return the taps of the pixels from start to end, the end excluded."""
        number = np.arange(start, end, dtype=np.float64)
        if factor >= 1:
            low, high = number * factor, np.minimum((number + 1) * factor, source_px)
            index = np.floor(low + NOISE).astype(np.int64)[:, None] + np.arange(math.ceil(factor) + 1)
            weight = np.minimum(index + 1, high[:, None]) - np.maximum(index, low[:, None])
        else:
            centre = (number + 0.5) * factor - 0.5
            below = np.floor(centre)
            index = below.astype(np.int64)[:, None] + np.arange(2)
            weight = np.stack([1 - (centre - below), centre - below], axis=1)
        used = (weight > NOISE / 2) & (index >= 0) & (index < source_px)
        first, last = int(index[used].min()), int(index[used].max())
        inside = np.clip(index, first, last) - first
        return cls(inside, np.where(used, weight, 0.0), first, last + 1)

    def __len__(self) -> int:
        return len(self.index)

    def sums(self, values: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        """Return the weighed sums along an axis of source pixels, the last or the one before it, tap after tap."""
        weight = self.weight.astype(values.dtype)
        if axis == -2:
            weight = weight[..., None]
        total = np.take(values, self.index[:, 0], axis) * weight[:, 0]
        for tap in range(1, weight.shape[1]):
            total += np.take(values, self.index[:, tap], axis) * weight[:, tap]
        return np.asarray(total)
