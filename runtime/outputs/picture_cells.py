"""A scene and its map downsampled to a picture, part by part: no landslide is lost, colours are means of samples."""

from __future__ import annotations

import itertools
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kda_edge.tiling.pixels import Pixels

from ..scenes.read_ahead import ReadPlan, Window
from ..scenes.scene import Scene

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

NO_DATA, GROUND, SLIDE = 0, 1, 2  # what a cell of the picture shows; the largest in it wins
SAMPLES: Final = 4  # rows and columns of a cell, or all where there are fewer; its colour is their mean
_EXACT: Final = {"uint8": "uint16", "int8": "int16", "uint16": "uint32", "int16": "int32"}  # hold sums of all samples


class MapCells:
    """What each cell of a picture shows of a map whose rows come from top to bottom."""

    def __init__(self, height_px: int, width_px: int, size_hw: tuple[int, int]) -> None:
        """Begin above the first row; `size_hw` are the most cells along both sides."""
        self._rows, cols = firsts(height_px, size_hw[0]), firsts(width_px, size_hw[1])
        lasts = np.append(cols[1:], width_px) - 1
        # The first column of each cell, the second, and so on; in shorter cells the last one comes again.
        self._cols = [np.minimum(cols + at, lasts) for at in range(int((lasts - cols).max()) + 1)]
        self._next_row = 0
        self.shown = np.zeros((len(self._rows), len(cols)), np.uint8)

    def add(self, classes: Bytes) -> None:
        """Take the map's next rows of the class band, (h, width): a cell is `SLIDE` where any pixel in it is one."""
        meaning = classes + np.uint8(1)  # class 0, 1, 255 to GROUND, SLIDE, NO_DATA
        end = self._next_row + len(classes)
        first, last = np.searchsorted(self._rows, [self._next_row, end - 1], side="right") - 1
        inner = (self._rows[first + 1 : last + 1] - self._next_row).tolist()
        of_rows = np.empty((last + 1 - first, meaning.shape[1]), np.uint8)
        for cells, (top, bottom) in zip(of_rows, itertools.pairwise([0, *inner, len(meaning)]), strict=True):
            np.max(meaning[top:bottom], axis=0, out=cells)  # many times as fast as a reduceat
        shown = self.shown[first : last + 1]
        for cols in self._cols:
            np.maximum(shown, np.take(of_rows, cols, axis=1), out=shown)
        self._next_row = end


class SceneColours:
    """The colour of each cell of a picture, from windows of the scene in reading order.

    Samples are the same pixels however the scene is stored, so that the same scene gives the same picture.
    """

    def __init__(self, height_px: int, width_px: int, pixel_type: np.dtype[Any], size_hw: tuple[int, int]) -> None:
        """Begin without a window; `size_hw` are the most cells along both sides."""
        self._rows, self._cols = _samples(height_px, size_hw[0]), _samples(width_px, size_hw[1])
        self._kind = np.result_type(pixel_type, np.float32)
        self._sum_kind = np.dtype(_EXACT.get(pixel_type.name, self._kind))
        self._all_px, self._seen_px = height_px * width_px, 0
        self._total: npt.NDArray[Any] | None = None  # (3, H, W), from the first window on
        self._count = np.zeros(0, np.uint8)

    @property
    def whole(self) -> bool:
        """Whether every pixel of the scene has come by."""
        return self._seen_px == self._all_px

    def add(self, window: Window, pixels: Pixels) -> None:
        """Take the next window."""
        image, valid, _ = pixels
        if self._total is None:
            shape = len(self._rows), len(self._cols)
            self._total, self._count = np.zeros((3, *shape), self._sum_kind), np.zeros(shape, np.uint8)
        self._seen_px += valid.size
        if not valid.any():
            return
        rows, cols = self._rows - window.row0, self._cols - window.col0
        planes = image.transpose(2, 0, 1)
        if not valid.all():
            planes = np.where(valid, planes, image.dtype.type(0))
        add = _add_exactly if self._sum_kind.kind in "iu" else _add_in_order
        for sums, plane in zip(self._total, planes, strict=True):
            add(sums, plane, rows, cols)
        _add_exactly(self._count, valid, rows, cols)

    def means(self) -> Pixels:
        """Return the mean colour of each cell, (H, W, 3) as float, and whether any sample in it is valid; once."""
        total, self._total = self._total, None  # let go of: the picture needs room
        assert total is not None
        mean = total.astype(self._kind, copy=False)
        del total
        mean /= np.maximum(self._count, 1).astype(self._kind)
        return Pixels(mean.transpose(1, 2, 0), self._count > 0)


def colours_of_scene(scene: Scene, size_hw: tuple[int, int]) -> SceneColours:
    """Return the colours of a scene that is read for them alone.

    Raises:
        SceneError: the scene can't be read.
    """
    colours = SceneColours(scene.height_px, scene.width_px, scene.pixel_type, size_hw)
    for window in ReadPlan.for_blocks(scene.block_hw).windows(0, scene.height_px, scene.width_px):
        colours.add(window, scene.read(*window))
    return colours


def firsts(source_px: int, shown_px: int) -> Ints:
    """Return the first source pixel of each cell along one side; never more cells than source pixels."""
    count = min(source_px, shown_px)
    return np.arange(count) * source_px // count


def _add_in_order(sums: npt.NDArray[Any], plane: npt.NDArray[Any], rows: Ints, cols: Ints) -> None:
    """Add those samples to the sums of all cells that lie in a plane, one after the other; rounding follows the order.

    Args:
        sums: (H, W), of all cells.
        plane: a window's pixels.
        rows: of each cell's samples, counted from the window's first row, (H, samples).
        cols: likewise, (W, samples).
    """
    for down in rows.T:
        first, end = np.searchsorted(down, [0, plane.shape[0]])
        of_rows = plane[down[first:end]].astype(sums.dtype)
        for across in cols.T:
            left, right = np.searchsorted(across, [0, plane.shape[1]])
            sums[first:end, left:right] += np.take(of_rows, across[left:right], axis=1)


def _add_exactly(sums: npt.NDArray[Any], plane: npt.NDArray[Any], rows: Ints, cols: Ints) -> None:
    """Add the same samples where sums are whole numbers and no order changes them: rows first, which is faster."""
    top, bottom = np.searchsorted(rows[:, -1], 0), np.searchsorted(rows[:, 0], plane.shape[0])
    of_rows = np.zeros((bottom - top, plane.shape[1]), sums.dtype)
    for down in rows.T:
        first, end = np.searchsorted(down, [0, plane.shape[0]])
        of_rows[first - top : end - top] += plane[down[first:end]]
    for across in cols.T:
        left, right = np.searchsorted(across, [0, plane.shape[1]])
        sums[top:bottom, left:right] += np.take(of_rows, across[left:right], axis=1)


def _samples(source_px: int, shown_px: int) -> Ints:
    """Return the source pixels that each cell along one side is sampled at, (cells, samples of each), evenly spaced."""
    first = firsts(source_px, shown_px)
    length = np.diff(first, append=source_px)
    number = min(SAMPLES, int(length.min()))
    return np.asarray(first[:, None] + length[:, None] * (2 * np.arange(number) + 1) // (2 * number))
