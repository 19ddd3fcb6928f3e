"""Colours of figures: heat over an image, the errors of a mask, and the legends that say what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from ..data.labels import IGNORED, LANDSLIDE
from .panel_sheet import INK, LINE_PX, PAPER, Bytes, Color, text_width, write_line

# What came of a pixel.
REJECTED, FOUND, FALSE_ALARM, MISSED, UNJUDGED = range(5)
# Black, white, vermilion and sky blue of Okabe and Ito 2008, "Color Universal Design", which every kind of
# colour-blind eye tells apart; the two errors differ in lightness too.
OUTCOME_COLORS: Final[tuple[Color, ...]] = ((0, 0, 0), (255, 255, 255), (213, 94, 0), (86, 180, 233), (150, 150, 150))
HATCH: Final[Color] = (100, 100, 100)
HATCH_PX: Final = 8  # from one line of the hatching to the next
HEAT_SHARE: Final = 0.6  # of the colour of heat, over the image in grey
MID_GREY: Final = 128
SWATCH_PX: Final = 15
BAR_HW: Final = (15, 256)
MARK_PX: Final = 9  # from the middle of a cross to its ends


def resized(pixels: Bytes, size_hw: tuple[int, int]) -> Bytes:
    """Return an image at another size: averaged where it shrinks, bilinear where it grows."""
    shrinks = size_hw[0] < pixels.shape[0]
    size = (size_hw[1], size_hw[0])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)


def displayed(share: npt.NDArray[Any], size_hw: tuple[int, int]) -> Bytes:
    """Return pixels as shares of their declared range, (H, W, 3), 0..1, as a picture."""
    return resized(np.rint(share * 255).astype(np.uint8), size_hw)


def hatch(picture: Bytes, where: npt.NDArray[np.bool_]) -> None:
    """Cover the part of a picture, (H, W), where nothing is known or judged, in place: grey and hatched."""
    shown = nearest(where, (picture.shape[0], picture.shape[1]))
    rows, cols = np.indices(shown.shape)
    picture[shown] = OUTCOME_COLORS[UNJUDGED]
    picture[shown & ((rows + cols) % HATCH_PX < 2)] = HATCH


def nearest(codes: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[Any]:
    """Return codes, (h, w), at another size, each pixel that of its nearest one."""
    rows, cols = (
        ((2 * np.arange(shown) + 1) * own // (2 * shown)) for shown, own in zip(size_hw, codes.shape, strict=True)
    )
    return np.asarray(codes[rows[:, None], cols])


def coloured_heat(picture: Bytes, values: npt.NDArray[np.float32], low_high: tuple[float, float]) -> Bytes:
    """Return a picture in grey with values, (h, w), as colours over it; the ends of the range hold what is beyond."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    large = cv2.resize(values, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_LINEAR)
    low, high = low_high
    return _blended(np.clip((large - low) / (high - low), 0, 1), grey)


def _blended(shares: npt.NDArray[Any], grey: npt.NDArray[Any]) -> Bytes:
    codes = np.rint(shares * 255).astype(np.uint8)
    colors = cv2.applyColorMap(codes, cv2.COLORMAP_VIRIDIS)[..., ::-1]
    mixed: Bytes = np.rint(HEAT_SHARE * colors + (1 - HEAT_SHARE) * grey[..., None]).astype(np.uint8)
    return mixed


def outline(picture: Bytes, labels: Bytes, color: Color = PAPER) -> None:
    """Draw the outline of the landslide of labels, (H, W), in place: a colour on black."""
    slide = (nearest(labels, (picture.shape[0], picture.shape[1])) == LANDSLIDE).astype(np.uint8)
    contours, _ = cv2.findContours(slide, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for stroke, thickness in ((INK, 3), (color, 1)):
        cv2.drawContours(picture, contours, -1, stroke, thickness, cv2.LINE_AA)


def cross(picture: Bytes, x_share: float, y_share: float) -> None:
    """Mark a place, given as shares of width and height, in place: white on black."""
    col, row = int(x_share * picture.shape[1]), int(y_share * picture.shape[0])
    for color, thickness in ((INK, 4), (PAPER, 2)):
        cv2.line(picture, (col - MARK_PX, row), (col + MARK_PX, row), color, thickness)
        cv2.line(picture, (col, row - MARK_PX), (col, row + MARK_PX), color, thickness)


def heat_bar(low_high: tuple[float, float], meaning: str) -> Bytes:
    """Return the legend of heat: its colours over mid-grey, with figures below and the meaning beside."""
    ticks = [f"{value:.3g}" for value in np.linspace(*low_high, 5)]
    pad = max(map(text_width, ticks)) // 2 + 1
    bar = _blended(np.linspace(0, 1, BAR_HW[1])[None].repeat(BAR_HW[0], axis=0), np.full(BAR_HW, MID_GREY))
    page = np.full((BAR_HW[0] + LINE_PX + 5, pad + BAR_HW[1] + pad + 8 + text_width(meaning), 3), PAPER, np.uint8)
    page[: BAR_HW[0], pad : pad + BAR_HW[1]] = bar
    for number, tick in enumerate(ticks):
        col = pad + round(number / (len(ticks) - 1) * (BAR_HW[1] - 1))
        cv2.line(page, (col, BAR_HW[0]), (col, BAR_HW[0] + 4), INK, 1)
        write_line(page, tick, col - text_width(tick) // 2, BAR_HW[0] + 4)
    write_line(page, meaning, pad + BAR_HW[1] + pad + 8, -1)
    return page


def coloured_outcomes(outcomes: Bytes, size_hw: tuple[int, int]) -> Bytes:
    """Return outcomes, (H, W), as colours; what is not judged is grey and hatched."""
    picture: Bytes = np.asarray(OUTCOME_COLORS, np.uint8)[nearest(outcomes, size_hw)]
    hatch(picture, outcomes == UNJUDGED)
    return picture


def truth_of(labels: Bytes) -> Bytes:
    """Return labels, (H, W), as the outcomes of a model that is always right."""
    outcomes = np.full(labels.shape, REJECTED, np.uint8)
    outcomes[labels == LANDSLIDE] = FOUND
    outcomes[labels == IGNORED] = UNJUDGED
    return outcomes


def outcome_swatches(meanings: Sequence[tuple[int, str]]) -> list[Bytes]:
    """Return a legend for each (outcome, meaning)."""
    swatches = []
    for code, meaning in meanings:
        page = np.full((SWATCH_PX + 3, SWATCH_PX + 8 + text_width(meaning), 3), PAPER, np.uint8)
        page[:SWATCH_PX, :SWATCH_PX] = coloured_outcomes(np.full((1, 1), code, np.uint8), (SWATCH_PX, SWATCH_PX))
        cv2.rectangle(page, (0, 0), (SWATCH_PX - 1, SWATCH_PX - 1), INK, 1)
        write_line(page, meaning, SWATCH_PX + 7, -1)
        swatches.append(page)
    return swatches
