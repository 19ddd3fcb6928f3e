"""A frame of a video with its landslides tinted and outlined, in the colours of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..map_format import NODATA_BYTE
from ..outputs.legend import AREA_SHARE, CASING, LANDSLIDE, NODATA, Bytes, Color
from ..scenes.band_choice import RGB

UNKNOWN_SHARE: Final = 0.7  # of grey where nobody knows: what lies there is hardly seen
LARGE_FRAME_PX: Final = 1000  # longer frames get bold lines


def overlaid(frame: Bytes, mask: Bytes, bands: Sequence[str]) -> Bytes:
    """Return the frame in blue, green, red, landslides tinted and outlined, pixels without an answer greyed.

    Args:
        frame: (H, W, 3), in the order of bands.
        mask: of the frame or of a smaller copy of it: 1 landslide, 255 unknown, 0 background.
        bands: red, green and blue in the frame's order.
    """
    if tuple(bands) == RGB:
        picture = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), np.uint8)
    else:
        picture = np.ascontiguousarray(frame[..., [bands.index(name) for name in ("blue", "green", "red")]])
    height_px, width_px = picture.shape[:2]
    if mask.shape != picture.shape[:2]:
        mask = np.asarray(cv2.resize(mask, (width_px, height_px), interpolation=cv2.INTER_NEAREST), np.uint8)
    slide = (mask == 1).astype(np.uint8)
    if slide.any():
        _tint(picture, slide, LANDSLIDE, AREA_SHARE)
        outlines, _ = cv2.findContours(slide, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        width = 2 if max(height_px, width_px) > LARGE_FRAME_PX else 1
        for color, thickness_px in ((CASING, width + 2), (LANDSLIDE, width)):
            cv2.drawContours(picture, outlines, -1, _bgr(color), thickness_px)
    unknown = (mask == NODATA_BYTE).astype(np.uint8)
    if unknown.any():
        _tint(picture, unknown, NODATA, UNKNOWN_SHARE)
    return picture


def _tint(picture: Bytes, where: NDArray[np.uint8], color: Color, share: float) -> None:
    plain = np.full_like(picture, _bgr(color))
    cv2.copyTo(cv2.addWeighted(picture, 1 - share, plain, share, 0.0), where, picture)


def _bgr(color: Color) -> Color:
    red, green, blue = color
    return blue, green, red
