"""The connected landslides of a map, counted in strips of rows: memory grows with their number, not with the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

Ints = npt.NDArray[np.int64]

STRIP_PX: Final = 4_000_000  # pixels of a strip: about 100 MB while it is labelled
PROBABILITY_SCALE: Final = 254.0  # of the map's second band: 0..254 stands for 0..1
_FAR: Final = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Components:
    """What the raster says of each group of landslide pixels that share an edge, in the order of their first pixels.

    Attributes:
        first_pixel: row times width plus column of the first pixel in reading order, shape (N,), rising.
        area_px: pixels, shape (N,).
        probability_sum: of the map's values 0..254, shape (N,).
        probability_max: of the map's values 0..254, shape (N,).
        flagged_px: pixels with any bit of the qa band, shape (N,).
    """

    first_pixel: Ints
    area_px: Ints
    probability_sum: Ints
    probability_max: Ints
    flagged_px: Ints

    def at(self, row: int, col: int, width_px: int) -> int:
        """Return the index of the group whose first pixel is this one."""
        index = int(np.searchsorted(self.first_pixel, row * width_px + col))
        assert self.first_pixel[index] == row * width_px + col
        return index


def strips(dataset: Any, *, strip_px: int = STRIP_PX) -> Iterator[Window]:
    """Yield windows of full width, top to bottom: whole rows of blocks, as many as fit in `strip_px` pixels, or one."""
    block_px = dataset.block_shapes[0][0]
    step_px = max(1, strip_px // (dataset.width * block_px)) * block_px
    for row in range(0, dataset.height, step_px):
        yield Window(0, row, dataset.width, min(step_px, dataset.height - row))


def components_of(dataset: Any, *, strip_px: int = STRIP_PX) -> Components:
    """Label the landslide pixels (class 1) of an open map that share an edge and sum up what the map says of each.

    A strip is labelled by itself; labels that meet at the row between two strips are joined afterwards.
    """
    tables: list[Ints] = []
    joins: list[Ints] = []
    above = np.full(dataset.width, -1, np.int64)
    known = 0
    for window in strips(dataset, strip_px=strip_px):
        classes, probability, qa = dataset.read(window=window)
        count, labels = cv2.connectedComponents((classes == 1).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
        below = labels[0].astype(np.int64) - 1 + known
        meet = (above >= 0) & (labels[0] > 0)
        joins.append(np.unique(np.stack([above[meet], below[meet]]), axis=1))
        above = np.where(labels[-1] > 0, labels[-1].astype(np.int64) - 1 + known, -1)
        tables.append(_table(labels, count - 1, probability, qa, first_row=window.row_off))
        known += count - 1
    table = np.concatenate(tables, axis=1)
    root = _roots(known, np.concatenate(joins, axis=1))
    first, area, total, top, flagged = (np.full(known, _FAR), *(np.zeros(known, np.int64) for _ in range(4)))
    np.minimum.at(first, root, table[0])
    np.add.at(area, root, table[1])
    np.add.at(total, root, table[2])
    np.maximum.at(top, root, table[3])
    np.add.at(flagged, root, table[4])
    kept = np.flatnonzero(first < _FAR)
    kept = kept[np.argsort(first[kept])]  # OpenCV promises no order
    return Components(first[kept], area[kept], total[kept], top[kept], flagged[kept])


def _table(labels: npt.NDArray[np.int32], count: int, probability: Any, qa: Any, *, first_row: int) -> Ints:
    """Return the five sums of `Components` for labels 1..count of one strip, shape (5, count)."""
    position = np.flatnonzero(labels)
    label = labels.reshape(-1)[position] - 1
    value = probability.reshape(-1)[position]
    flagged = label[qa.reshape(-1)[position] != 0]
    first, top = np.full(count, _FAR), np.zeros(count, np.int64)
    np.minimum.at(first, label, position + first_row * labels.shape[1])
    np.maximum.at(top, label, value.astype(np.int64))
    total = np.bincount(label, weights=value, minlength=count)  # sums of whole numbers: exact in float64
    return np.stack(
        [
            first,
            np.bincount(label, minlength=count),
            total.astype(np.int64),
            top,
            np.bincount(flagged, minlength=count),
        ]
    )


def _roots(count: int, pairs: Ints) -> Ints:
    """Return, for each of `count` labels, the smallest label that it is joined with by `pairs`, shape (2, M)."""
    parent = np.arange(count)

    def find(label: int) -> int:
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = int(parent[label])
        return label

    for one, other in pairs.T.tolist():
        a, b = find(one), find(other)
        parent[max(a, b)] = min(a, b)
    while not np.array_equal(parent, parent[parent]):
        parent = parent[parent]
    return parent
