"""Nodata filled for the network: with the nearest pixels, never black.

A cliff from imagery to a constant makes networks fire along it. Training and inference use these two functions alike.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from kda_edge.tiling.pixels import unmasked

Pixels = TypeVar("Pixels", bound=np.generic)


def fill_nodata(image: NDArray[Pixels], valid: NDArray[np.bool_]) -> NDArray[Pixels]:
    """Give each pixel without data the values of the nearest pixel that has some.

    Near is Euclidean, as OpenCV's 5 x 5 distance transform approximates it (within about 2 %); ties fall the same
    way every time.

    Args:
        image: (H, W, C). Pixels with a NaN or an infinity in any channel, or masked there, count as without data.
        valid: (H, W), True where the image has data.

    Returns:
        (H, W, C), same data type; `image` itself where nothing is to fill, all zeros where no pixel has data.
    """
    image, known = unmasked(image, valid)
    if known is not None:
        valid = known
    if np.issubdtype(image.dtype, np.floating):
        valid = valid & np.isfinite(image).all(axis=2)
    if valid.all():
        return image
    if not valid.any():
        return np.zeros_like(image)
    holes = ~valid
    _, labels = cv2.distanceTransformWithLabels(
        holes.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    donors = np.zeros(int(labels.max()) + 1, np.intp)  # label -> flat index of the pixel that owns it
    donors[labels[valid]] = np.flatnonzero(valid)
    nearest = donors[labels[holes]]
    filled: NDArray[Pixels] = image.copy(order="K")  # planes stay planes, and are fast to go through one by one
    for band in range(image.shape[2]):
        filled[..., band][holes] = np.take(image[..., band], nearest)
    return filled


def pad_to_tile(image: NDArray[Pixels], tile_px: int) -> NDArray[Pixels]:
    """Extend an image at its bottom and right by reflection until it is as large as a tile.

    Reflection leaves out the border pixel and bounces as often as needed (`cv2.BORDER_REFLECT_101`, the same as
    NumPy's `reflect`); a side of 1 px is repeated.

    Args:
        image: (H, W, C), each side at most tile_px.
        tile_px: side to reach.

    Returns:
        (tile_px, tile_px, C), same data type; `image` itself where it already has that size.
    """
    height_px, width_px = image.shape[:2]
    if height_px == width_px == tile_px:
        return image
    rows = _bounce(height_px, tile_px)
    cols = _bounce(width_px, tile_px)
    return image[rows[:, None], cols[None, :]]


def _bounce(length_px: int, tile_px: int) -> NDArray[np.intp]:
    """Source index of each of tile_px positions: 0 1 2 3 2 1 0 1 ... for a length of 4."""
    position = np.arange(tile_px)
    if length_px == 1:
        return np.zeros(tile_px, np.intp)
    folded = position % (2 * (length_px - 1))
    return np.minimum(folded, 2 * (length_px - 1) - folded).astype(np.intp)
