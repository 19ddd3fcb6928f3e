"""Probability as the map stores it: a class and a byte."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NODATA_BYTE: Final = 255  # in class and probability; qa never has it
PROBABILITY_TOP: Final = 254  # stands for probability 1


def probability_bytes(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 0..254 for probability 0..1, rounded to the nearest, and 255 where it is NaN."""
    scaled = np.rint(probability * np.float32(PROBABILITY_TOP))
    np.putmask(scaled, np.isnan(scaled), NODATA_BYTE)
    rounded: NDArray[np.uint8] = scaled.astype(np.uint8)
    return rounded


def class_bytes(probability: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Return 1 where the probability reaches the threshold, 0 where it does not, 255 where it is NaN."""
    classes: NDArray[np.uint8] = (probability >= np.float32(threshold)).view(np.uint8)
    np.putmask(classes, np.isnan(probability), NODATA_BYTE)
    return classes
