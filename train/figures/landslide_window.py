"""A window around landslide: the part of a large image that is shown, chosen by chance and not by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import DataError, UsageError

from ..data.crops import read_labelled
from ..data.data_file import DataSet
from ..data.labels import LANDSLIDE
from ..data.sources import Sample

STRIP_PX: Final = 512  # rows that are read at a time

Bounds = tuple[int, int, int, int]  # left, top, right, bottom, px; the ends are excluded
Labels = Callable[[Bounds], NDArray[np.uint8]]


def labels_of(sample: Sample, data: DataSet) -> Labels:
    """Return the labels of a sample as a function of bounds in its file."""
    return lambda bounds: read_labelled(sample, data.input, bounds)[2]


def landslide_window(labels: Labels, within: Bounds, side_px: int, rng: np.random.Generator) -> Bounds | None:
    """Return the part of an image that is shown, or None where it holds no landslide.

    An image of at most `side_px` on both sides is shown whole. Of a larger one it is a window around one pixel of
    landslide, each with the same chance.

    Args:
        labels: of any bounds; read by strips.
        within: bounds of the image.
        side_px: longest side of the window.
        rng: chooses.
    """
    left, top, right, bottom = within
    strips = [(left, row, right, min(row + STRIP_PX, bottom)) for row in range(top, bottom, STRIP_PX)]
    counts = [int((labels(strip) == LANDSLIDE).sum()) for strip in strips]
    if not sum(counts):
        return None
    if max(right - left, bottom - top) <= side_px:
        return within
    chosen = int(rng.integers(sum(counts)))
    before = np.cumsum([0, *counts])
    strip = int(np.searchsorted(before, chosen, side="right")) - 1
    row, col = np.argwhere(labels(strips[strip]) == LANDSLIDE)[chosen - before[strip]]
    return window_around(left + int(col), strips[strip][1] + int(row), within, side_px)


def window_of(sample: Sample, data: DataSet, side_px: int, rng: np.random.Generator) -> Bounds:
    """Return the part of a sample that is shown; of a large one without landslide, its middle."""
    within = sample.window_ltrb
    found = landslide_window(labels_of(sample, data), within, side_px, rng)
    left, top, right, bottom = within
    return found or window_around((left + right) // 2, (top + bottom) // 2, within, side_px)


def window_around(x_px: int, y_px: int, within: Bounds, side_px: int) -> Bounds:
    """Return a window around a pixel, as near to its middle as the image's border allows."""
    left, top, right, bottom = within
    width_px, height_px = min(side_px, right - left), min(side_px, bottom - top)
    col = min(max(x_px - width_px // 2, left), right - width_px)
    row = min(max(y_px - height_px // 2, top), bottom - height_px)
    return col, row, col + width_px, row + height_px


def sample_name(sample: Sample) -> str:
    """Return what a sample is called: `group/stem`, or its stem where the group says no more."""
    stem = sample.image.stem
    return stem if sample.group == stem else f"{sample.group}/{stem}"


def named_samples(samples: Sequence[Sample], names: Sequence[str]) -> list[Sample]:
    """Return the samples of these names, in that order: `STEM`, or `GROUP/STEM` where several have the stem.

    Raises:
        UsageError: no such sample, or several.
    """
    result = []
    for name in names:
        found = [sample for sample in samples if name in (sample.image.stem, f"{sample.group}/{sample.image.stem}")]
        if not found:
            some = ", ".join(sample_name(sample) for sample in samples[:4])
            raise UsageError(f"there is no image {name!r} in this split; it holds {len(samples)}, such as {some}")
        if len(found) > 1:
            some = ", ".join(sample_name(sample) for sample in found[:4])
            raise UsageError(f"{len(found)} images are called {name!r} ({some}); name the group as well")
        result.append(found[0])
    return result


def drawn_samples(
    samples: Sequence[Sample], data: DataSet, count: int, side_px: int, rng: np.random.Generator
) -> list[tuple[Sample, Bounds]]:
    """Draw samples at random among those with landslide, each with the window that is shown; in the order of `samples`.

    Returns:
        `count` of them, or all that there are.

    Raises:
        DataError: no sample has landslide.
    """
    drawn: dict[int, Bounds] = {}
    for index in rng.permutation(len(samples)):
        sample = samples[index]
        window = landslide_window(labels_of(sample, data), sample.window_ltrb, side_px, rng)
        if window is not None:
            drawn[int(index)] = window
        if len(drawn) == count:
            break
    if not drawn:
        raise DataError("no image of this split shows landslide; choose another --split, or name --images")
    return [(samples[index], drawn[index]) for index in sorted(drawn)]
