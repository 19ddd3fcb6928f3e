"""The colours of a picture and the strip below it that says what they mean, how far things are and where north is."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kda_edge.ground.ground import Floats

Bytes = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

# Of all colours the one farthest from forest, soil and rock for the normal and each colour-blind eye: CIELAB
# difference at least 53 from 99 of 100 pixels of four real scenes and 200 images, simulated as in Machado et al. 2009.
LANDSLIDE: Final[Color] = (238, 0, 255)
CASING: Final[Color] = (30, 0, 32)  # a dark line under the bright one: one of them stands out on any ground
NODATA: Final[Color] = (218, 218, 218)
AREA_SHARE: Final = 0.22  # of the landslide's colour in its tint

STRIP_PX: Final = 48  # height of the strip
NARROWEST_PX: Final = 460  # a picture is widened to this, so that the strip's words have room
QUICKLOOK_PX: Final = 220  # more for those of a quicklook
QUICKLOOK_WORDS: Final = "quicklook, 1/4 of the resolution"
_PAPER: Final[Color] = (255, 255, 255)
_INK: Final[Color] = (40, 40, 40)
_MARGIN_PX: Final = 16
_SWATCH_PX: Final = 20
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE: Final = 0.5


def with_legend(
    image: Bytes, step_m: Floats | None, *, landslides: bool, nodata: bool, quicklook: bool = False
) -> Bytes:
    """Return the picture with the strip below it, (H + `STRIP_PX`, W or what the words need, 3).

    Args:
        image: the picture, (H, W, 3).
        step_m: metres east and north (rows) of one step right and one step down (columns), None where nobody knows.
        landslides: whether the picture shows any.
        nodata: whether the picture shows ground without data.
        quicklook: whether it is of a quicklook, which the strip then says first.
    """
    height, width = image.shape[:2]
    narrowest = NARROWEST_PX + (QUICKLOOK_PX if quicklook else 0)
    page = np.full((height + STRIP_PX, max(width, narrowest), 3), _PAPER, np.uint8)
    page[:height, :width] = image
    middle = height + STRIP_PX // 2
    col = _word(page, QUICKLOOK_WORDS, _MARGIN_PX, middle) if quicklook else _MARGIN_PX
    if landslides:
        cv2.rectangle(page, *_box(col, middle), _mixed(LANDSLIDE, (110, 110, 90)), cv2.FILLED)
        cv2.rectangle(page, *_box(col, middle), LANDSLIDE, 2)
        col = _word(page, "landslide", col + _SWATCH_PX + 8, middle)
    else:
        col = _word(page, "no landslide found", col, middle)
    if nodata:
        cv2.rectangle(page, *_box(col, middle), NODATA, cv2.FILLED)
        cv2.rectangle(page, *_box(col, middle), _INK, 1)
        _word(page, "no data", col + _SWATCH_PX + 8, middle)
    if step_m is not None:
        right = _north(page, step_m, page.shape[1] - _MARGIN_PX, middle)
        _scale_bar(page, float(np.hypot(*step_m[:, 0])), right - _MARGIN_PX, middle)
    return page


def scale_bar(metres_a_px: float, most_px: int) -> tuple[int, str]:
    """Return the length, px, and the label of the longest bar within `most_px` of 1, 2 or 5 times a power of ten."""
    most_m = metres_a_px * most_px
    power = 10.0 ** np.floor(np.log10(most_m))
    length_m = max(step * power for step in (1, 2, 5) if step * power <= most_m)
    label = (
        f"{length_m / 1000:g} km"
        if length_m >= 1000
        else f"{length_m:g} m"
        if length_m >= 1
        else f"{length_m * 100:g} cm"
    )
    return round(length_m / metres_a_px), label


def north(step_m: Floats) -> tuple[float, float]:
    """Return the direction of true north in the picture, right and down, of length 1.

    Args:
        step_m: metres east and north (rows) of one step right and one step down (columns).
    """
    right, down = np.linalg.solve(step_m, np.array([0.0, 1.0]))
    length = float(np.hypot(right, down))
    return float(right) / length, float(down) / length


def _box(col: int, middle: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (col, middle - _SWATCH_PX // 2), (col + _SWATCH_PX, middle + _SWATCH_PX // 2)


def _mixed(color: Color, ground: Color) -> Color:
    red, green, blue = (round(c * AREA_SHARE + g * (1 - AREA_SHARE)) for c, g in zip(color, ground, strict=True))
    return red, green, blue


def _word(page: Bytes, text: str, col: int, middle: int) -> int:
    """Write a word at its left end; return where the next thing may begin."""
    (width, height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
    cv2.putText(page, text, (col, middle + height // 2), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    return col + width + _MARGIN_PX


def _north(page: Bytes, step_m: Floats, right: int, middle: int) -> int:
    """Draw the arrow, its box ending at `right`; return where the box begins."""
    radius = STRIP_PX // 2 - 8
    center = np.array([right - radius, middle])
    ahead = np.array(north(step_m))
    aside = np.array([-ahead[1], ahead[0]])
    corners = [center + radius * ahead, center - radius * (0.9 * ahead - 0.55 * aside), center - 0.45 * radius * ahead]
    other = [corners[0], center - radius * (0.9 * ahead + 0.55 * aside), corners[2]]
    for half, fill in ((corners, _INK), (other, _PAPER)):
        points = np.rint(np.array(half) * 16).astype(np.int32)
        cv2.fillPoly(page, [points], fill, cv2.LINE_AA, 4)
        cv2.polylines(page, [points], True, _INK, 1, cv2.LINE_AA, 4)
    (width, height), _ = cv2.getTextSize("N", _FONT, _FONT_SCALE, 1)
    left = right - 2 * radius - 6 - width
    cv2.putText(page, "N", (left, middle + height // 2), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
    return left


def _scale_bar(page: Bytes, metres_a_px: float, right: int, middle: int) -> None:
    length, label = scale_bar(metres_a_px, max(40, page.shape[1] // 5))
    left, foot = right - length, middle + 12
    cv2.line(page, (left, foot), (right, foot), _INK, 2)
    for col in (left, right):
        cv2.line(page, (col, foot - 6), (col, foot), _INK, 2)
    (width, _), _ = cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)
    cv2.putText(page, label, ((left + right - width) // 2, foot - 10), _FONT, _FONT_SCALE, _INK, 1, cv2.LINE_AA)
