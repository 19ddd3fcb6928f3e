"""Rows of a scene, read ahead by threads that each hold it open, handed out from top to bottom."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias

from kda_edge.tiling.pixels import Pixels, Source
from kda_edge.tiling.tile_stream import Piece

from ..geo.gdal import gdal_session

WINDOW_PX: Final = 2**20  # pixels that a thread reads at once, about: 3 MB of bytes. Unmeasured.
LEAST_ROWS_PX: Final = 128  # read at once where the file's blocks are lower
MOST_ROWS_PX: Final = 1024  # where they are higher, each is decoded more than once


class RowSource(Source, Protocol):
    """A source that says how it is laid out and what it complained of."""

    @property
    def height_px(self) -> int:
        """Rows."""
        ...

    @property
    def width_px(self) -> int:
        """Columns."""
        ...

    @property
    def block_hw(self) -> tuple[int, int]:
        """Sides of the blocks that it is stored in: windows of whole blocks are read once."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What was odd about the pixels so far, a sentence each; grows."""
        ...


OpenSource: TypeAlias = Callable[[], AbstractContextManager[RowSource]]
Seen: TypeAlias = Callable[["Window", Pixels], None]  # told of each window, in reading order


class Window(NamedTuple):
    """Rows and columns of a scene; the ends are excluded."""

    row0: int
    row1: int
    col0: int
    col1: int


@dataclass(frozen=True)
class ReadPlan:
    """In which windows rows are read, each pixel once.

    Attributes:
        rows_px: of a window; windows begin at whole multiples of it.
        cols_px: of a window, at most.
    """

    rows_px: int
    cols_px: int

    @classmethod
    def for_blocks(cls, block_hw: tuple[int, int]) -> ReadPlan:
        """Return windows of whole blocks where these are no monsters."""
        height, width = block_hw
        rows_px = min(height * -(-LEAST_ROWS_PX // height), MOST_ROWS_PX)
        return cls(rows_px, max(WINDOW_PX // rows_px // width, 1) * width)

    def windows(self, row0: int, row1: int, width_px: int) -> Iterator[Window]:
        """Yield the windows that cover some rows, in reading order."""
        while row0 < row1:
            end = min((row0 // self.rows_px + 1) * self.rows_px, row1)
            for col in range(0, width_px, self.cols_px):
                yield Window(row0, end, col, min(col + self.cols_px, width_px))
            row0 = end


class RowsAhead:
    """Hands out rows as `kda_edge.tiling.tile_stream.Rows` wants them; made by `rows_ahead`.

    Attributes:
        warnings: what the sources complained of, up to the rows handed out last, each sentence once.
    """

    def __init__(self, readers: Sequence[_Reader], windows: Iterator[Window], ahead: int, seen: Seen | None) -> None:
        self.warnings: list[str] = []
        self._readers, self._windows, self._ahead, self._seen = readers, windows, ahead, seen
        self._count = 0
        self._waiting: deque[tuple[Window, Future[_Read]]] = deque()
        self._held: list[Piece] = []  # windows beside each other, of which rows are left
        self._held_end = 0

    def __call__(self, row0: int, row1: int) -> Iterator[Piece]:
        """Yield the pieces that cover some rows; waits for them."""
        while row0 < row1:
            if not self._held:
                self._hold(row0)
            end = min(row1, self._held_end)
            for row, col, (image, valid, lost) in self._held:
                rows = slice(row0 - row, end - row)
                yield Piece(row0, col, Pixels(image[rows], valid[rows], None if lost is None else lost[rows]))
            row0 = end
            if row0 == self._held_end:
                self._held = []

    def _hold(self, row0: int) -> None:
        """Wait for the windows that begin at a row."""
        self._order()
        while self._waiting and self._waiting[0][0].row0 == row0:
            window, future = self._waiting.popleft()
            self._order()
            pixels, warnings = future.result()
            self.warnings += [warning for warning in warnings if warning not in self.warnings]
            if self._seen is not None:
                self._seen(window, pixels)
            self._held.append(Piece(row0, window.col0, pixels))
            self._held_end = window.row1
        assert self._held

    def _order(self) -> None:
        while len(self._waiting) < self._ahead and (window := next(self._windows, None)) is not None:
            reader = self._readers[self._count % len(self._readers)]
            self._waiting.append((window, reader.submit(window)))
            self._count += 1


@contextmanager
def rows_ahead(
    open_source: OpenSource, windows: Iterator[Window], *, readers: int, ahead: int, seen: Seen | None = None
) -> Iterator[RowsAhead]:
    """Have windows read by threads until the block ends; then the threads are gone and their sources closed.

    Args:
        open_source: called once in each thread, within a GDAL session.
        windows: to read, in reading order.
        readers: threads, 1 or more.
        ahead: most windows, 1 or more, that are read or waiting to be handed out.
        seen: told of each window before it is handed out, in the thread that asks for rows.

    Raises:
        SceneError: from the rows that are asked for, where the source can't be opened or read.
    """
    with ExitStack() as stack:
        threads = [stack.enter_context(_Reader(open_source, number)) for number in range(readers)]
        try:
            yield RowsAhead(threads, windows, ahead, seen)
        finally:
            for thread in threads:
                thread.stop()  # all of them, before the first is waited for


class _Read(NamedTuple):
    pixels: Pixels
    warnings: tuple[str, ...]


class _Stopped(Exception):
    """A window that nobody waits for."""


class _Reader:
    """A thread with a source of its own, which it opens, reads and closes."""

    def __init__(self, open_source: OpenSource, number: int) -> None:
        self._open = open_source
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"kda-edge-reader-{number}")
        self._opened = ExitStack()
        self._source: RowSource | None = None
        self._stopped = threading.Event()

    def submit(self, window: Window) -> Future[_Read]:
        """Have a window read after those before it."""
        return self._thread.submit(self._read, window)

    def stop(self) -> None:
        """Leave out what is not being read yet."""
        self._stopped.set()

    def _read(self, window: Window) -> _Read:
        if self._stopped.is_set():
            raise _Stopped
        if self._source is None:
            self._opened.enter_context(gdal_session())
            self._source = self._opened.enter_context(self._open())
        pixels = self._source.read(*window)
        return _Read(pixels, tuple(self._source.warnings))

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.submit(self._opened.close)  # the thread's last work; nothing was written, nothing can be lost
        self._thread.shutdown(wait=True)
