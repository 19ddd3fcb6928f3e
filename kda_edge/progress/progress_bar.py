"""A progress bar with the time left on a terminal; where the output is piped, a line each half minute."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, TextIO

LINE_EACH_S: Final = 30.0  # where the output is piped
DRAWN_EACH_S: Final = 0.1  # on a terminal
HEARTBEAT_S: Final = 1.0
BAR_CHARS: Final = 24
ERASE: Final = "\r\x1b[K"  # ECMA-48: back to the start of the line, and what is right of it goes


class ProgressBar:
    """Shows what is done of how much, and about how long the rest takes; use it in a `with` block.

    Args:
        prefix: of each line of a piped output.
        stream: to write to; None: standard error.
        heartbeat: whether a thread tells how long a step takes that does not report by itself.
        clock: in seconds.
    """

    def __init__(
        self,
        prefix: str = "",
        stream: TextIO | None = None,
        *,
        heartbeat: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix, self._stream, self._clock = prefix, sys.stderr if stream is None else stream, clock
        self._lock = threading.RLock()
        self._label, self._done, self._total = "", 0, 0
        self._since_s = self._told_s = clock()  # the label; the last line, or drawing
        self._first = 0  # done when the label began
        self._is_drawn = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True) if heartbeat else None

    def __enter__(self) -> ProgressBar:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            self._erase()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done; a new label begins anew, a total of 0 is not known."""
        with self._lock:
            fresh = label != self._label
            if fresh:
                self._label, self._first, self._since_s = label, done, self._clock()
            self._done, self._total = done, total
            self._show(at_once=fresh)

    def say(self, line: str) -> None:
        """Write a line of its own, with the prefix."""
        with self._lock:
            self._erase()
            print(f"{self._prefix}{line}", file=self._stream, flush=True)

    def _show(self, *, at_once: bool = False) -> None:
        now_s = self._clock()
        if not self._stream.isatty():
            if now_s - self._told_s >= LINE_EACH_S:
                self._told_s = now_s
                self.say(self._text(now_s))
        elif 0 < self._total <= self._done:
            self._erase()
        elif at_once or now_s - self._told_s >= DRAWN_EACH_S:
            self._told_s, self._is_drawn = now_s, True
            columns = shutil.get_terminal_size().columns - 1
            print(f"{ERASE}{self._text(now_s, bar=True)[:columns]}", end="", file=self._stream, flush=True)

    def _text(self, now_s: float, *, bar: bool = False) -> str:
        """Return the state in words: `epoch 3/200: 120 of 400, about 2 min left`."""
        spent_s, new = now_s - self._since_s, self._done - self._first
        text = self._label
        if self._total:
            filled = BAR_CHARS * min(self._done, self._total) // self._total
            text += f" [{'#' * filled}{'.' * (BAR_CHARS - filled)}]" if bar else ":"
            text += f" {self._done} of {self._total}"
        if new > 0 and self._done < self._total:
            return f"{text}, about {in_words(spent_s * (self._total - self._done) / new)} left"
        return f"{text}, {in_words(spent_s)} so far" if spent_s >= 1 else text

    def _erase(self) -> None:
        if self._is_drawn:
            print(ERASE, end="", file=self._stream, flush=True)
            self._is_drawn = False

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with self._lock:
                if self._label and not (0 < self._total <= self._done):
                    self._show(at_once=True)


def in_words(seconds: float) -> str:
    """Return a duration for people, about 5 % exact at worst but for the shortest."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
