"""Mean and standard deviation of the training imagery, a band at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kda_edge.errors import DataError
from kda_edge.manifest import InputContract

from .image_files import read_image
from .sources import Sample

STRIP_PX = 1024


def band_statistics(samples: Sequence[Sample], contract: InputContract) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each band over all valid pixels, in the imagery's units.

    Values beyond the declared range are clipped to it, as in training. Scenes are read by strips.

    Raises:
        DataError: no valid pixel, or a band that is constant.
    """
    from rasterio.windows import Window

    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for sample in samples:
        left, top, right, bottom = sample.window_ltrb
        for row in range(top, bottom, STRIP_PX):
            window = Window(left, row, right - left, min(STRIP_PX, bottom - row))
            image, valid = read_image(sample.image, contract, sample.source.bands, window)
            pixels = np.clip(image[valid].astype(np.float64), *contract.value_range)
            count += len(pixels)
            total += pixels.sum(axis=0)
            squares += (pixels**2).sum(axis=0)
    if not count:
        raise DataError("the train split has no valid pixels to measure")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    if std.min() == 0:
        raise DataError("a band of the training imagery is constant; check `bands` in the data file")
    return tuple(mean.tolist()), tuple(std.tolist())
