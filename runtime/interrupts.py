"""Ctrl-C that is never lost: what a C library's callback swallows is raised again at the next tile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from kda_edge.predict import Progress


class Interrupts:
    """Whether the user has asked to stop.

    Python raises `KeyboardInterrupt` wherever it is when the signal comes. In a callback of GDAL, or while an object
    is finalised, that is printed or dropped, and the program goes on as if nobody had asked.
    """

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal, and raise as Python does."""
        self.asked = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if the user has asked to stop, however often that was swallowed."""
        if self.asked:
            raise KeyboardInterrupt

    def checked(self, progress: Progress | None) -> Progress:
        """Return a progress that checks first, then tells `progress` if there is one."""

        def tell(done: int, total: int) -> None:
            self.check()
            if progress is not None:
                progress(done, total)

        return tell


@contextmanager
def heard() -> Iterator[Interrupts]:
    """Listen for SIGINT until the block ends; outside of the main thread, where Python hears none, nothing changes."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGINT, interrupts)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
