"""A sheet of panels in rows and columns, with titles above, captions below, legends and notes: for people, as PNG.

Words are broken into as many lines as their column needs; none is cut. OpenCV's letters are ASCII: accents are left
out, other letters become question marks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from kda_edge.errors import OutputError, UsageError, one_line
from kda_edge.paths import is_dir
from kda_edge.whole_files import try_folder, write_whole

Bytes = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

INK: Final[Color] = (40, 40, 40)
PAPER: Final[Color] = (255, 255, 255)
LINE_PX: Final = 19  # from one line of words to the next
MARGIN_PX: Final = 14  # around the sheet and between panels
NARROWEST_PX: Final = 230  # a column is at least this wide, so that its words have room
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE: Final = 0.45
_BASELINE_PX: Final = 14  # of a line, from its top


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        picture: (H, W, 3) RGB.
        title: above it.
        captions: below it, each on a new line.
    """

    picture: Bytes
    title: str = ""
    captions: tuple[str, ...] = ()


def sheet(rows: Sequence[Sequence[Panel]], *, legends: Sequence[Bytes] = (), notes: Sequence[str] = ()) -> Bytes:
    """Return the panels in rows and columns, then the legends side by side, then the notes, (H, W, 3) RGB.

    Args:
        rows: of panels, each with as many.
        legends: (h, w, 3) each.
        notes: lines over the whole width.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(NARROWEST_PX, *(panel.picture.shape[1] for panel in column)) for column in columns]
    width = sum(widths) + MARGIN_PX * (len(widths) + 1)
    width = max(width, *(legend.shape[1] + 2 * MARGIN_PX for legend in legends)) if legends else width
    parts = [_row(panels, widths, width) for panels in rows]
    parts += [_strip(some, width) for some in _lines_of_legends(legends, width)]
    if notes:
        parts.append(_words([line for note in notes for line in wrapped(note, width - 2 * MARGIN_PX)], width))
    gap = np.full((MARGIN_PX, width, 3), PAPER, np.uint8)
    return np.concatenate([piece for part in parts for piece in (gap, part)] + [gap])


def fitted_hw(height_px: int, width_px: int, longest_px: int) -> tuple[int, int]:
    """Return the sides of an image whose longer one is brought to `longest_px`."""
    scale = longest_px / max(height_px, width_px)
    return max(1, round(height_px * scale)), max(1, round(width_px * scale))


def wrapped(text: str, width_px: int) -> list[str]:
    """Break a text into lines that fit, between words, and inside a word that is too long by itself."""
    lines, line = [], ""
    for word in _ascii(text).split():
        while text_width(word) > width_px and len(word) > 1:
            if line:
                lines.append(line)
                line = ""
            fits = max(1, sum(text_width(word[:count]) <= width_px for count in range(1, len(word) + 1)))
            lines.append(word[:fits])
            word = word[fits:]  # noqa: PLW2901  # what is left of it
        longer = f"{line} {word}".strip()
        if text_width(longer) > width_px and line:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line or not lines else lines


def text_width(text: str) -> int:
    """Return how wide a line of words is, px."""
    return int(cv2.getTextSize(_ascii(text), _FONT, _FONT_SCALE, 1)[0][0])


def write_line(page: Bytes, text: str, left: int, top: int) -> None:
    """Write a line of words, `LINE_PX` high, in place."""
    cv2.putText(page, _ascii(text), (left, top + _BASELINE_PX), _FONT, _FONT_SCALE, INK, 1, cv2.LINE_AA)


def require_place(path: Path, ending: str) -> None:
    """Raise `UsageError` or `OutputError` unless a file of this ending can lie there; before anything is computed."""
    if path.suffix.lower() != ending:
        raise UsageError(f"{path} must end in {ending}")
    if not is_dir(path.parent):
        raise UsageError(f"there is no folder {path.parent} for {path.name}; make it first")
    try:
        try_folder(path.parent)
    except OSError as error:
        raise OutputError(f"{path} can't be written ({one_line(error)}); choose another place") from error


def write_png(path: Path, picture: Bytes) -> None:
    """Write an RGB picture atomically: afterwards `path` holds either all of it or what it held before.

    Raises:
        OutputError: it can't be written.
    """
    _, png = cv2.imencode(".png", picture[..., ::-1])
    try:
        write_whole(path, png.tobytes())
    except OSError as error:
        raise OutputError(f"{path} can't be written ({one_line(error)}); choose another place") from error


def _ascii(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode()


def _row(panels: Sequence[Panel], widths: Sequence[int], width: int) -> Bytes:
    titles = [wrapped(p.title, w) if p.title else [] for p, w in zip(panels, widths, strict=True)]
    captions = [[line for c in p.captions for line in wrapped(c, w)] for p, w in zip(panels, widths, strict=True)]
    above = LINE_PX * max(map(len, titles))
    tallest = max(panel.picture.shape[0] for panel in panels)
    below = LINE_PX * max(map(len, captions))
    page = np.full((above + tallest + below + (4 if below else 0), width, 3), PAPER, np.uint8)
    left = MARGIN_PX
    for panel, column_px, title, caption in zip(panels, widths, titles, captions, strict=True):
        height_px, width_px = panel.picture.shape[:2]
        start = left + (column_px - width_px) // 2
        cv2.rectangle(page, (start - 1, above - 1), (start + width_px, above + height_px), INK, 1)
        page[above : above + height_px, start : start + width_px] = panel.picture
        # Titles stand on their picture, captions hang from it; both are as far left as it allows.
        words_left = min(start, left + column_px - max([0, *map(text_width, (*title, *caption))]))
        for number, line in enumerate(title):
            write_line(page, line, words_left, above - LINE_PX * (len(title) - number))
        for number, line in enumerate(caption):
            write_line(page, line, words_left, above + height_px + 4 + LINE_PX * number)
        left += column_px + MARGIN_PX
    return page


def _lines_of_legends(legends: Sequence[Bytes], width: int) -> list[list[Bytes]]:
    """Return the legends line by line, as many side by side as there is room for."""
    lines: list[list[Bytes]] = []
    left = width
    for legend in legends:
        if left + legend.shape[1] + MARGIN_PX > width:
            lines.append([])
            left = MARGIN_PX
        lines[-1].append(legend)
        left += legend.shape[1] + 2 * MARGIN_PX
    return lines


def _strip(legends: Sequence[Bytes], width: int) -> Bytes:
    page = np.full((max(legend.shape[0] for legend in legends), width, 3), PAPER, np.uint8)
    left = MARGIN_PX
    for legend in legends:
        page[: legend.shape[0], left : left + legend.shape[1]] = legend
        left += legend.shape[1] + 2 * MARGIN_PX
    return page


def _words(lines: Sequence[str], width: int) -> Bytes:
    page = np.full((LINE_PX * len(lines), width, 3), PAPER, np.uint8)
    for number, line in enumerate(lines):
        write_line(page, line, MARGIN_PX, LINE_PX * number)
    return page
