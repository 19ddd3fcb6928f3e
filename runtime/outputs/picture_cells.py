"""A scene and its map downsampled to a picture, in strips: no landslide is lost, colours are means of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from kda_edge.tiling.pixels import Pixels

from ..geo.gdal import reading_blocks
from ..scenes.read_ahead import ReadPlan
from ..scenes.scene import Scene

Bytes = npt.NDArray[np.uint8]

NO_DATA, GROUND, SLIDE = 0, 1, 2  # what a cell of the picture shows; the largest in it wins
STRIP_PX: Final = 4_000_000  # pixels of a strip of whole rows: no more are in memory at once
SAMPLES: Final = 4  # rows and columns of a cell, or all where there are fewer; its colour is their mean


def cells_of_map(landslides: Any, size_hw: tuple[int, int]) -> Bytes:
    """Return what each cell shows, (H, W), sides at most `size_hw`: `SLIDE` where any pixel in it is a landslide."""
    rows, cols = firsts(landslides.height, size_hw[0]), firsts(landslides.width, size_hw[1])
    cells = np.zeros((len(rows), len(cols)), np.uint8)
    for window in strips(landslides):
        with reading_blocks():
            meaning = landslides.read(1, window=window) + np.uint8(1)  # class 0, 1, 255 to GROUND, SLIDE, NO_DATA
        first, last = np.searchsorted(rows, [window.row_off, window.row_off + window.height - 1], side="right") - 1
        starts = np.maximum(rows[first : last + 1] - window.row_off, 0)
        strip = np.maximum.reduceat(np.maximum.reduceat(meaning, starts, axis=0), cols, axis=1)
        np.maximum(cells[first : last + 1], strip, out=cells[first : last + 1])
    return cells


def firsts(source_px: int, shown_px: int) -> npt.NDArray[np.int64]:
    """Return the first source pixel of each cell along one side; never more cells than source pixels."""
    count = min(source_px, shown_px)
    return np.arange(count) * source_px // count


def colours_of_scene(scene: Scene, size_hw: tuple[int, int]) -> Pixels:
    """Return the colour of each cell, (H, W, 3) as float, and whether any sample in it is valid.

    Samples are the same pixels however the scene is stored, so that the same scene gives the same picture.

    Raises:
        SceneError: the scene can't be read.
    """
    rows, cols = _samples(scene.height_px, size_hw[0]), _samples(scene.width_px, size_hw[1])
    kind = np.result_type(scene.pixel_type, np.float32)
    total = np.zeros((3, len(rows), len(cols)), kind)
    count = np.zeros(total.shape[1:], np.float32)
    for window in ReadPlan.for_blocks(scene.block_hw).windows(0, scene.height_px, scene.width_px):
        image, valid, _ = scene.read(*window)
        if not valid.any():
            continue
        planes = image.transpose(2, 0, 1)
        if not valid.all():
            planes = np.where(valid, planes, image.dtype.type(0))
        for sums, plane in zip((*total, count), (*planes, valid), strict=True):
            _add_samples(sums, plane, rows - window.row0, cols - window.col0)
    total /= np.maximum(count, 1).astype(kind)
    return Pixels(total.transpose(1, 2, 0), count > 0)


def _add_samples(
    sums: npt.NDArray[Any], plane: npt.NDArray[Any], rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64]
) -> None:
    """Add those samples to the sums of all cells that lie in a plane; rows and columns count from its corner."""
    for down in rows.T:
        first, end = np.searchsorted(down, [0, plane.shape[0]])
        of_rows = plane[down[first:end]].astype(sums.dtype)
        for across in cols.T:
            left, right = np.searchsorted(across, [0, plane.shape[1]])
            sums[first:end, left:right] += np.take(of_rows, across[left:right], axis=1)


def _samples(source_px: int, shown_px: int) -> npt.NDArray[np.int64]:
    """Return the source pixels that each cell along one side is sampled at, (cells, samples of each), evenly spaced."""
    first = firsts(source_px, shown_px)
    length = np.diff(first, append=source_px)
    number = min(SAMPLES, int(length.min()))
    return np.asarray(first[:, None] + length[:, None] * (2 * np.arange(number) + 1) // (2 * number))


def strips(dataset: Any, *, strip_px: int = STRIP_PX) -> Iterator[Window]:
    """Yield windows of full width, top to bottom: whole rows of blocks, as many as fit in `strip_px` pixels, or one."""
    block_px = dataset.block_shapes[0][0]
    step_px = max(1, strip_px // (dataset.width * block_px)) * block_px
    for row in range(0, dataset.height, step_px):
        yield Window(0, row, dataset.width, min(step_px, dataset.height - row))
