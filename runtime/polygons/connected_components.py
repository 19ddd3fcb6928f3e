"""The connected landslides of a map, followed from its first row to its last in memory of those that may still grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from .pixel_corners import Bytes, Corners, Ints, Labels, corners_of, joined

STRIP_PX: Final = 2**19  # pixels labelled at once: 15 MB or so, and 100 MB if they are chequers
BATCH_CORNERS: Final = 2**16  # handed on at once, or one landslide
LANDSLIDE: Final = 1  # of the map's class band

_ADD: Final = (np.add, np.add, np.maximum, np.add)  # how each of the four sums of two parts makes that of the whole


@dataclass(frozen=True)
class Components:
    """Groups of landslide pixels that share an edge, each complete, in the order of (last row, first pixel).

    Attributes:
        width_px: the map's.
        first_pixel: row times width plus column of the first pixel in reading order, (N,).
        sums: of each: pixels, sum and maximum of the probability 0..254, pixels with any bit of the qa band, (4, N).
        corners: of their outlines, in reading order.
    """

    width_px: int
    first_pixel: Ints
    sums: Ints
    corners: Corners

    def __len__(self) -> int:
        return len(self.first_pixel)

    def batches(self, *, most_corners: int = BATCH_CORNERS) -> Iterator[Components]:
        """Yield the components in groups of so many corners, or one component each."""
        ends = np.cumsum(np.bincount(self.corners.owner, minlength=len(self)))
        first = corner = 0
        while first < len(self):
            last = max(first + 1, int(np.searchsorted(ends, corner + most_corners, side="right")))
            corners = self.corners[corner : int(ends[last - 1])]
            own = slice(first, last)
            yield Components(
                self.width_px, self.first_pixel[own], self.sums[:, own], corners.owned_by(corners.owner - first)
            )
            first, corner = last, int(ends[last - 1])


class _Open:
    """A component that reaches the last row seen: its sums and the corners of its outline so far."""

    def __init__(self) -> None:
        self.sums = np.zeros(len(_ADD), np.int64)
        self.pieces: list[Corners] = []

    def take(self, corners: Corners) -> None:
        """Add corners; the pieces stay few, and a corner is copied a logarithmic number of times."""
        self.pieces.append(corners)
        while len(self.pieces) > 1 and len(self.pieces[-2]) <= 2 * len(self.pieces[-1]):
            self.pieces[-2:] = [joined(self.pieces[-2:])]

    def join(self, other: _Open) -> _Open:
        """Return the one with more corners, which has taken those of the other."""
        small, large = sorted((self, other), key=lambda one: sum(map(len, one.pieces)))
        for piece in small.pieces:
            large.take(piece)
        return large


class ComponentStream:
    """Groups rows of a map into components; what it yields in all depends on the rows, not on how they are cut."""

    def __init__(self, width_px: int, *, strip_px: int = STRIP_PX) -> None:
        """Start above the first row.

        Args:
            width_px: of the map.
            strip_px: pixels labelled at once, or one row.
        """
        self._width_px = width_px
        self._strip_rows = max(1, strip_px // width_px)
        self._rows = 0
        self._open: list[_Open] = []
        self._above = np.zeros(width_px, np.int64)  # of each pixel of the last row: 0, or 1 + its place in `_open`

    def add(self, layers: Bytes) -> Iterator[Components]:
        """Take the next rows and yield the components that can't grow any more.

        Args:
            layers: class, probability and qa, (3, h, width).
        """
        for row in range(0, layers.shape[1], self._strip_rows):
            strip = layers[:, row : row + self._strip_rows]
            if self._open or (strip[0] == LANDSLIDE).any():
                yield self._strip(strip)
            else:
                self._rows += strip.shape[1]

    def finish(self) -> Components:
        """Return what the last row has left open."""
        return self._strip(np.zeros((3, 1, self._width_px), np.uint8))

    def _strip(self, layers: Bytes) -> Components:
        height_px = layers.shape[1]
        slides = np.zeros((height_px + 1, self._width_px + 2), np.uint8)  # with the row above and a margin
        slides[0, 1:-1] = self._above > 0
        np.equal(layers[0], LANDSLIDE, out=slides[1:, 1:-1].view(np.bool_))
        found, image = cv2.connectedComponents(slides, connectivity=4, ltype=cv2.CV_32S)
        count, labels = found - 1, np.asarray(image, np.int32)  # label 0 is what is no landslide
        above, last = labels[0, 1:-1], labels[-1, 1:-1]

        meet = np.flatnonzero(self._above)
        pairs = np.stack([above[meet] - 1, self._above[meet] - 1 + count])
        pairs = pairs[:, np.diff(pairs, prepend=-1).any(axis=0)]  # neighbours mostly say the same
        root, root_of_open = np.split(_roots(count + len(self._open), pairs), [count])
        sums = np.zeros((len(_ADD), count), np.int64)
        for whole, part, add in zip(sums, _sums(slides, labels, count, layers), _ADD, strict=True):
            add.at(whole, root, part)
        for one, index in zip(self._open, root_of_open.tolist(), strict=True):
            for whole, part, add in zip(sums, one.sums, _ADD, strict=True):
                whole[index] = add(whole[index], part)

        goes_on = np.zeros(count, np.bool_)
        goes_on[root[last[last > 0] - 1]] = True
        corners = corners_of(slides, labels, first_line=self._rows)
        corners = corners.owned_by(root[corners.owner])
        stays = goes_on[corners.owner]
        closed = [corners[~stays]]
        grown = {index: _Open() for index in np.flatnonzero(goes_on).tolist()}
        for one, index in zip(self._open, root_of_open.tolist(), strict=True):
            if index in grown:
                grown[index] = grown[index].join(one)
            else:
                closed += [piece.owned_by(index) for piece in one.pieces]
        for index, own in corners[stays].by_owner():
            grown[index].take(own)
        for index, one in grown.items():
            one.sums = sums[:, index].copy()
        self._open = list(grown.values())
        self._above = np.zeros(self._width_px, np.int64)
        self._above[last > 0] = np.cumsum(goes_on)[root[last[last > 0] - 1]]
        self._rows += height_px
        return _complete(self._width_px, (root == np.arange(count)) & ~goes_on, sums, joined(closed))


def _complete(width_px: int, chosen: npt.NDArray[np.bool_], sums: Ints, corners: Corners) -> Components:
    """Return the components that are chosen, and their corners, in their order."""
    first, last = np.full(len(chosen), np.iinfo(np.int64).max), np.full(len(chosen), -1)
    np.minimum.at(first, corners.owner, corners.position)
    np.maximum.at(last, corners.owner, corners.position // (width_px + 1))
    index = np.flatnonzero(chosen)
    index = index[np.lexsort((first[index], last[index]))]
    rank = np.empty(len(chosen), np.int64)
    rank[index] = np.arange(len(index))
    row, col = np.divmod(first[index], width_px + 1)
    ordered = corners.owned_by(rank[corners.owner]).in_reading_order()
    return Components(width_px, row * width_px + col, sums[:, index], ordered)


def _sums(slides: Bytes, labels: Labels, count: int, layers: Bytes) -> Ints:
    """Return the four sums of each label from 1 to count, of all rows but the first, which was summed before.

    A label's pixels are summed run by run, a run being those beside each other in a row: there are few of them.
    """
    here = slides[1:]
    inside = here[:, 1:-1].view(np.bool_)
    sides = np.flatnonzero((here.reshape(-1)[1:] ^ here.reshape(-1)[:-1]).view(np.bool_))  # none goes over the margin
    if not len(sides):
        return np.zeros((len(_ADD), count), np.int64)
    label = labels[1:].reshape(-1)[sides[1::2]] - 1
    length = sides[1::2] - sides[::2]
    end = np.cumsum(length)  # of each run, among the landslide pixels in reading order
    value, flagged = layers[1][inside], layers[2][inside] != 0
    top = np.zeros(count, np.uint8)
    np.maximum.at(top, label, np.maximum.reduceat(value, end - length))
    so_far = (np.cumsum(each, dtype=np.int64)[end - 1] for each in (value, flagged))
    of_runs = (length, *(np.diff(sums, prepend=0) for sums in so_far))  # whole numbers: exact in float64
    area, total, of_flagged = (np.bincount(label, weights=each, minlength=count).astype(np.int64) for each in of_runs)
    return np.stack([area, total, top.astype(np.int64), of_flagged])


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
