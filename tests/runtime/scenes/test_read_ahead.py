from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sources import MadeSource, Opener, our_threads

from kda_edge.errors import SceneError
from kda_edge.runtime.scenes.read_ahead import MOST_ROWS_PX, WINDOW_PX, ReadPlan, Window, rows_ahead

blocks = st.tuples(st.sampled_from([1, 7, 64, 256, 500, 5000]), st.sampled_from([1, 16, 256, 512, 20000]))


@given(blocks, st.integers(0, 3000), st.integers(1, 3000), st.integers(1, 40000))
def test_windows_cover_each_pixel_once_in_reading_order_and_break_no_block(
    block_hw: tuple[int, int], row0: int, rows: int, width: int
) -> None:
    plan = ReadPlan.for_blocks(block_hw)
    windows = list(plan.windows(row0, row0 + rows, width))
    assert windows == sorted(windows, key=lambda window: (window.row0, window.col0))
    assert sum((w.row1 - w.row0) * (w.col1 - w.col0) for w in windows) == rows * width
    tops = sorted({(w.row0, w.row1) for w in windows})
    assert [end for _, end in tops[:-1]] == [start for start, _ in tops[1:]]
    assert all(start % plan.rows_px == 0 for start, _ in tops[1:])
    assert plan.rows_px % block_hw[0] == 0 or plan.rows_px == MOST_ROWS_PX
    assert all(w.col0 % block_hw[1] == 0 for w in windows)
    for window in windows:
        pixels = (window.row1 - window.row0) * (window.col1 - window.col0)
        assert pixels <= max(WINDOW_PX, plan.rows_px * block_hw[1])


def all_rows(opener: Opener, cuts: list[int], readers: int, ahead: int) -> np.ndarray:
    """Ask for the rows of a scene in pieces and put them together."""
    source = opener.source
    found = np.zeros_like(source.image)
    windows = ReadPlan(16, 24).windows(0, source.height_px, source.width_px)
    with rows_ahead(opener, windows, readers=readers, ahead=ahead) as rows:
        bounds = sorted({0, source.height_px, *(cut for cut in cuts if cut < source.height_px)})
        for row0, row1 in itertools.pairwise(bounds):
            for row, col, pixels in rows(row0, row1):
                assert row0 <= row
                assert row + len(pixels.valid) <= row1
                found[row : row + len(pixels.valid), col : col + pixels.valid.shape[1]] += pixels.image
    return found


@settings(max_examples=40)
@given(
    st.integers(1, 70),
    st.integers(1, 60),
    st.lists(st.integers(1, 69), max_size=5),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_rows_come_once_each_however_they_are_asked_for_and_by_however_many_they_are_read(
    height: int, width: int, cuts: list[int], readers: int, ahead: int
) -> None:
    opener = Opener(MadeSource(height, width))
    np.testing.assert_array_equal(all_rows(opener, cuts, readers, ahead), opener.source.image)
    assert len(opener.opened) <= readers
    assert sorted(opener.opened) == sorted(opener.closed), "each thread closes what it has opened"
    assert our_threads() == []


def test_no_more_windows_are_read_than_may_wait() -> None:
    class Counting(MadeSource):
        reads = 0

        def read(self, *window: int):  # type: ignore[no-untyped-def]
            type(self).reads += 1
            return super().read(*window)

    source = Counting(160, 24)
    with rows_ahead(Opener(source), ReadPlan(16, 24).windows(0, 160, 24), readers=2, ahead=3) as rows:
        list(rows(0, 16))
        time.sleep(0.2)  # the threads could go on, and must not
        assert source.reads <= 1 + 3


def test_an_error_of_the_file_comes_out_where_its_rows_are_asked_for() -> None:
    class Broken(MadeSource):
        def read(self, row0: int, row1: int, col0: int, col1: int):  # type: ignore[no-untyped-def]
            if row0 >= 32:
                raise SceneError("rows 32 to 47 are gone; copy the file again")
            return super().read(row0, row1, col0, col1)

    with rows_ahead(Opener(Broken(80, 24)), ReadPlan(16, 24).windows(0, 80, 24), readers=2, ahead=4) as rows:
        assert len(list(rows(0, 32))) == 2
        with pytest.raises(SceneError, match="rows 32 to 47"):
            list(rows(32, 48))
    assert our_threads() == []


def test_leaving_early_waits_for_no_window_that_is_not_begun() -> None:
    release, reads = threading.Event(), []

    class Slow(MadeSource):
        def read(self, row0: int, row1: int, col0: int, col1: int):  # type: ignore[no-untyped-def]
            reads.append(row0)
            release.wait(10)
            return super().read(row0, row1, col0, col1)

    with rows_ahead(Opener(Slow(800, 24)), ReadPlan(16, 24).windows(0, 800, 24), readers=1, ahead=9) as rows:
        asking = threading.Thread(target=lambda: list(rows(0, 16)))
        asking.start()
        while not reads:
            time.sleep(0.001)
        threading.Timer(0.05, release.set).start()
    asking.join()
    assert len(reads) <= 2
    assert our_threads() == []


def test_what_the_source_complains_of_is_kept_once() -> None:
    source = MadeSource(64, 24, warnings=["a block is grey"])
    with rows_ahead(Opener(source), ReadPlan(16, 24).windows(0, 64, 24), readers=2, ahead=2) as rows:
        list(rows(0, 64))
        assert rows.warnings == ["a block is grey"]


def test_a_window_is_rows_then_columns() -> None:
    assert next(ReadPlan(16, 24).windows(3, 40, 30)) == Window(3, 16, 0, 24)


@pytest.mark.parametrize("readers", [1, 3])
def test_windows_are_shown_in_reading_order_once_each_however_rows_are_asked_for(readers: int) -> None:
    source, shown = MadeSource(64, 50), []
    plan = ReadPlan(16, 24)
    with rows_ahead(
        Opener(source), plan.windows(0, 64, 50), readers=readers, ahead=4, seen=lambda *seen: shown.append(seen)
    ) as rows:
        for first, end in ((0, 5), (5, 30), (30, 64)):
            list(rows(first, end))
    assert [window for window, _ in shown] == list(plan.windows(0, 64, 50))
    for (row0, row1, col0, col1), pixels in shown:
        np.testing.assert_array_equal(pixels.image, source.image[row0:row1, col0:col1])
