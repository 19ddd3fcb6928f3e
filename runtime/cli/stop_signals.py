"""Stop signals, never lost: Ctrl-C, a service manager's SIGTERM, a terminal that goes away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Whether somebody has asked to stop, and by which signal.

    Python raises wherever it is when a signal comes: in a callback of GDAL, where that is printed and dropped, or
    between two renames. So while work goes on that asks by itself (`polled`), the first signal is only remembered.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._polled = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; raise `KeyboardInterrupt` where nobody asks, and on a second one in any case."""
        again, self.number = self.number is not None, number
        if again or not self._polled:
            raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        """Return what a shell expects of a program that a signal has ended: 128 and the signal's number."""
        return 128 + (self.number or signal.SIGINT)

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    @contextmanager
    def polled(self) -> Iterator[Callable[[], bool]]:
        """Yield the question that the block must ask often.

        Raises:
            KeyboardInterrupt: a signal has come before the block.
        """
        self._polled = True
        try:
            if self.asked():
                raise KeyboardInterrupt
            yield self.asked
        finally:
            self._polled = False


@contextmanager
def heard() -> Iterator[StopSignals]:
    """Listen for the signals until the block ends; outside of the main thread, where Python hears none, for none.

    What is ignored stays ignored: SIGHUP under nohup, SIGINT in a script's background.
    """
    stop, before = StopSignals(), dict[signal.Signals, Any]()
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in STOPPING}
    replaced = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, old in replaced.items():
            signal.signal(number, old)
