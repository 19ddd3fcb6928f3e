"""The page of a figure: every panel whole, every word beside it, and the file whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.errors import OutputError
from kda_edge.train.figures.panel_sheet import PAPER, Panel, sheet, text_width, wrapped, write_png


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), st.integers(20, 200))
def test_no_word_of_a_caption_is_lost_or_runs_out_of_its_column(text: str, width_px: int) -> None:
    lines = wrapped(text, width_px)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(text_width(line) <= width_px for line in lines)
    assert wrapped(text, 10**6) == [" ".join(text.split())]


def test_letters_that_opencv_has_not_are_replaced_and_never_dropped() -> None:
    assert wrapped("Höhe 滑坡", 500) == ["Hohe ??"]


def test_a_sheet_shows_every_panel_whole_and_the_words_beside_it() -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    sizes = [(30, 300), (50, 40), (20, 20), (60, 260)]
    pictures = [np.full((*size, 3), color, np.uint8) for size, color in zip(sizes, colors, strict=True)]
    panels = [
        Panel(picture, "a title that needs more than one line in its narrow column", ("b",)) for picture in pictures
    ]
    legend = np.full((10, 900, 3), (0, 200, 200), np.uint8)
    page = sheet([panels[:2], panels[2:]], legends=[legend, legend], notes=["word " * 60])
    for (height, width), color in zip(sizes, colors, strict=True):
        rows, cols = np.nonzero((page == color).all(axis=2))
        assert len(rows) == height * width
        assert (np.ptp(rows) + 1, np.ptp(cols) + 1) == (height, width)
    assert (page == (0, 200, 200)).all(axis=2).sum() == 2 * legend[..., 0].size
    border = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])
    assert (border == PAPER).all()  # nothing touches the edge


def test_a_figure_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    write_png(tmp_path / "a.png", picture)
    assert (cv2.imread(str(tmp_path / "a.png"))[..., ::-1] == picture).all()
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OutputError, match=r"b\.png can't be written"):
        write_png(tmp_path / "b.png", picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
