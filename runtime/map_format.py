"""The bytes of a map: its bands, what a class, a probability and a qa bit are stored as, the side of its blocks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NODATA_BYTE: Final = 255  # in class and probability; qa never has it
MAP_BANDS: Final = ("class", "probability", "qa")  # what our own maps call their bands
BLOCK_PX: Final = 256  # side of the file's blocks
QUICKLOOK_FACTOR: Final = 4  # sides of a quicklook's pixel over those of the scene's
PROBABILITY_TOP: Final = 254  # stands for probability 1

# Bits of the qa band: why a pixel deserves less trust than its probability says.
NODATA: Final = 1  # the scene has no data here
SCENE_EDGE: Final = 2  # within EDGE_PX of the raster's border: the network saw a reflection beyond it
NEAR_NODATA: Final = 4  # within HALO_PX of a pixel without data: the network saw filled pixels
FAILED_TILE: Final = 8  # a tile here has no answer, or the scene can't be read; the value is a neighbour's, or 255

# Both are choices, not measurements: the coarsest stride of the encoder.
EDGE_PX: Final = 32
HALO_PX: Final = 32


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
