"""Labels of pixels: what the values mean, and labels at a smaller size."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BACKGROUND: Final = 0
LANDSLIDE: Final = 1
IGNORED: Final = 255  # not judged


def shrunk_labels(labels: NDArray[np.uint8], shrink: int) -> NDArray[np.uint8]:
    """Return labels (H // shrink, W // shrink): of each block of pixels that of most of its judged ones.

    Args:
        labels: (H, W).
        shrink: side of a block, px; a block of which most is not judged is not judged.
    """
    height, width = labels.shape[0] // shrink, labels.shape[1] // shrink
    blocks = labels[: height * shrink, : width * shrink].reshape(height, shrink, width, shrink)
    judged = (blocks != IGNORED).sum(axis=(1, 3))
    landslide = (blocks == LANDSLIDE).sum(axis=(1, 3))
    small = np.where(2 * landslide >= np.maximum(judged, 1), LANDSLIDE, BACKGROUND).astype(np.uint8)
    small[2 * judged < shrink * shrink] = IGNORED
    return small
