"""Progress of an engine's build: TensorRT's phases, handed on to whoever shows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

Progress = Callable[[str, int, int], None]  # phase, steps done, steps in all

SHOWN_EVERY_S: Final = 0.2  # there are thousands of steps
LINE_CHARS: Final = 78


def progress_monitor(trt: Any, progress: Progress | None) -> Any:
    """Return what TensorRT tells its phases to; `error` is what ended the build early, None if nothing did.

    Ctrl-C arrives here too: an exception must not pass through TensorRT, so it is kept and the build told to stop.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the bindings ship no types
        """Counts the steps of each phase; TensorRT calls it from threads of its own."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.error: BaseException | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._goes_on(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self._goes_on(phase_name, step + 1)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def _goes_on(self, phase_name: str, done: int) -> bool:
            try:
                if self.error is None and progress is not None:
                    progress(phase_name, done, self._steps.get(phase_name, done))
            except BaseException as error:
                self.error = error
            return self.error is None

    return Monitor()


@contextmanager
def terminal_progress(stream: TextIO) -> Iterator[Progress | None]:
    """Yield what shows the progress on one line of a terminal, and wipe it at the end; None where there is none."""
    if not stream.isatty():
        yield None
        return
    shown_s = 0.0

    def show(phase: str, done: int, steps: int) -> None:
        nonlocal shown_s
        now_s = time.monotonic()
        if now_s - shown_s >= SHOWN_EVERY_S:
            shown_s = now_s
            line = f"building the engine: {phase} {done}/{steps}"
            stream.write("\r" + line[:LINE_CHARS].ljust(LINE_CHARS))
            stream.flush()

    try:
        yield show
    finally:
        stream.write("\r" + " " * LINE_CHARS + "\r")
        stream.flush()
