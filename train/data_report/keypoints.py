"""Keypoints of an image: places that a copy or an overlapping tile shows as well, each with a 64-bit code.

A keypoint is a local maximum of the difference of two Gaussian blurs, off straight edges; the strongest are kept. Its
code says of 8 x 8 samples around it which are brighter than their mean. Both depend on what lies within `MARGIN_PX`
alone, so two tiles of one scene agree wherever they overlap; blurring makes them last through JPEG and WebP, the mean
through changes of brightness and contrast. Turning or mirroring an image permutes the samples, and so a code's bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

MOST: Final = 64  # keypoints of an image. Unmeasured, as are the blurs
FINE_SIGMA_PX: Final = 2.0
COARSE_SIGMA_PX: Final = 4.0
APART_PX: Final = 9  # a keypoint is the largest response in a square of this side
SIDE: Final = 8  # samples of a code, each way
STEP_PX: Final = 4
SHARPEST: Final = 10.0  # ratio of a keypoint's curvatures, at most; Lowe's
MARGIN_PX: Final = 16  # from a keypoint to the border, and to pixels without data
THUMBNAIL_PX: Final = 64  # longest side
TURNS: Final = tuple((quarter, mirrored) for mirrored in (False, True) for quarter in range(4))


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of an image, and a thumbnail to compare it by.

    Attributes:
        height_px: of the image.
        width_px: likewise.
        rows: of the keypoints, (N,) int32.
        cols: likewise.
        codes: (N,) uint64; bit 8 i + j is set where sample (i, j) is brighter than the mean.
        thumbnail: the image in grey, contrast stretched, (h, w) uint8, its longest side at most `THUMBNAIL_PX`.
    """

    height_px: int
    width_px: int
    rows: NDArray[np.int32]
    cols: NDArray[np.int32]
    codes: NDArray[np.uint64]
    thumbnail: NDArray[np.uint8]

    def turned(self, quarters: int, *, mirrored: bool) -> Keypoints:
        """Return what the image would have had it been mirrored left to right, if asked, then turned anticlockwise."""
        rows, cols = self.rows, self.cols
        height, width = self.height_px, self.width_px
        bits = _bits(self.codes)
        thumbnail = self.thumbnail
        if mirrored:
            cols, bits, thumbnail = width - 1 - cols, bits[:, :, ::-1], thumbnail[:, ::-1]
        for _ in range(quarters):
            rows, cols = width - 1 - cols, rows
            height, width = width, height
        bits = np.rot90(bits, quarters, axes=(1, 2))
        thumbnail = np.rot90(thumbnail, quarters)
        return Keypoints(height, width, rows, cols, _codes(bits), np.ascontiguousarray(thumbnail))


def keypoints_of(image: NDArray[np.generic], valid: NDArray[np.bool_]) -> Keypoints:
    """Find the keypoints of an image.

    Args:
        image: (H, W, C), of any real type; where it is not valid its values do not matter.
        valid: where it holds data, (H, W).
    """
    height, width = valid.shape
    grey = _grey(image, valid)
    fine = np.asarray(cv2.GaussianBlur(grey, (0, 0), FINE_SIGMA_PX), np.float32)
    response = np.abs(fine - cv2.GaussianBlur(grey, (0, 0), COARSE_SIGMA_PX))
    summit = (response == cv2.dilate(response, np.ones((APART_PX, APART_PX)))) & (response > 0)
    rows, cols = np.nonzero(summit & _far_from_holes(valid))
    is_spot = _is_spot(response, rows, cols)
    rows, cols = rows[is_spot], cols[is_spot]
    strongest = np.argsort(-response[rows, cols], kind="stable")[:MOST]
    rows, cols = rows[strongest], cols[strongest]
    around = np.arange(SIDE) * STEP_PX - STEP_PX * (SIDE - 1) // 2
    samples = fine[rows[:, None, None] + around[:, None], cols[:, None, None] + around]
    bits = samples > samples.mean(axis=(1, 2), keepdims=True)
    place = rows.astype(np.int32), cols.astype(np.int32)
    return Keypoints(height, width, *place, _codes(bits), _thumbnail(fine))


def _is_spot(response: NDArray[np.float32], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which maxima are as sharp both ways, and not points of an edge, which looks the same all along.

    Source: Lowe 2004, doi 10.1023/B:VISI.0000029664.99615.94, section 4.1.
    """

    def at(down: int, right: int) -> NDArray[np.float32]:
        return response[rows + down, cols + right]

    middle = at(0, 0)
    across, along = at(0, 1) + at(0, -1) - 2 * middle, at(1, 0) + at(-1, 0) - 2 * middle
    mixed = (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)) / 4
    determinant = across * along - mixed**2
    return np.asarray((across + along) ** 2 * SHARPEST < (SHARPEST + 1) ** 2 * determinant)


def _far_from_holes(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where all pixels within `MARGIN_PX` hold data; beyond the border none do."""
    square = np.ones((2 * MARGIN_PX + 1, 2 * MARGIN_PX + 1))
    eroded = cv2.erode(valid.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(eroded == 1)


def _grey(image: NDArray[np.generic], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mean of the bands, 0 to 255 over what it spans; the mean of the valid pixels where there are none."""
    grey = np.asarray(np.where(valid, np.nan_to_num(image.mean(axis=2, dtype=np.float32)), 0), np.float32)
    if not valid.any():
        return grey
    grey[~valid] = grey[valid].mean(dtype=np.float64)
    low, high = float(grey.min()), float(grey.max())
    return np.asarray((grey - low) * (255 / (high - low)) if high > low else grey * 0, np.float32)


def _thumbnail(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = grey.shape
    shrink = max(1.0, max(height, width) / THUMBNAIL_PX)
    size_wh = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(grey, size_wh, interpolation=cv2.INTER_AREA)
    low, high = float(small.min()), float(small.max())
    stretched = (small - low) * (255 / (high - low)) if high > low else small * 0
    return np.asarray(np.rint(stretched), np.uint8)


def _codes(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Return (N,) codes of (N, 8, 8) bits."""
    packed = np.packbits(bits.reshape(len(bits), SIDE * SIDE), axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8")[:, 0].astype(np.uint64)


def _bits(codes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return (N, 8, 8) bits of (N,) codes."""
    packed = np.ascontiguousarray(codes.astype("<u8")).view(np.uint8).reshape(len(codes), SIDE)
    return np.unpackbits(packed, axis=1, bitorder="little").reshape(len(codes), SIDE, SIDE).astype(bool)
