"""A sampler of threads: every few milliseconds, from outside, in which phase of a run each of them is.

Nothing in the runtime is changed or slowed for it. A thread counts for the phase of the innermost function of ours that
it is in, so that NumPy and GDAL count for whoever called them; a thread that waits for another counts as waiting.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Final

PERIOD_S: Final = 0.004  # a phase of a second is then known to about 2 %; costs less than 1 % of one core. Unmeasured.
WAIT: Final = "wait"
OTHER: Final = "other"

# By phase: packages and modules inside `kda_edge`; the longest name that a module begins with decides.
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "read": ("runtime.scenes", "runtime.geo", "tiling.pixels"),
    "prepare": ("tiling.tile_stream", "tiling.fill_nodata", "tiling.tile_grid", "runtime.mapping.value_range"),
    "infer": (
        *("runtime.opened_engine", "runtime.engines", "runtime.tensorrt", "runtime.parity", "runtime.hardware"),
        "runtime.cache",
    ),
    "blend": ("tiling", "runtime.mapping", "runtime.map_format"),
    "write": ("runtime.outputs", "runtime.runs", "whole_files"),
    "vectorise": ("runtime.polygons",),
}
PHASES: Final = (*PARTS, OTHER, WAIT)
_PHASE_OF: Final = {f"kda_edge.{part}": phase for phase, parts in PARTS.items() for part in parts}
_WAITS: Final = {"threading", "queue", "concurrent.futures._base"}
_OURS: Final = ("kda_edge.train", "kda_edge.export", "kda_edge.benchmarks")  # which measure, and are not measured


class PhaseSampler:
    """Samples the threads of this process while its block runs; the thread that opens the block is the main one.

    Attributes:
        seconds: by phase, of all threads together: more than the wall clock shows where phases overlap.
    """

    def __init__(
        self,
        phase_of: Callable[[FrameType], str | None] | None = None,
        *,
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Sample nothing yet.

        Args:
            phase_of: the phase of a thread by its innermost frame; None where the thread is none of ours.
            period_s: between two samples.
            clock: in seconds.
        """
        self.seconds: Counter[str] = Counter()
        self._phase_of = phase_of or phase_of_frame
        self._period_s, self._clock = period_s, clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="kda-bench-phases", daemon=True)

    def __enter__(self) -> PhaseSampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        own, last = threading.get_ident(), self._clock()
        while not self._ended.wait(self._period_s):
            now = self._clock()
            for ident, frame in sys._current_frames().items():  # the one way to see other threads, and documented
                phase = None if ident == own else self._phase_of(frame)
                if phase is not None:
                    self.seconds[phase] += now - last  # type: ignore[assignment]  # Counter says int and takes floats
            last = now


def phase_of_frame(frame: FrameType) -> str | None:
    """Return the phase of a thread of the runtime by its innermost frame; None for a thread that is none of it."""
    waits = frame.f_globals.get("__name__") in _WAITS
    inside = False
    walk: FrameType | None = frame
    while walk is not None:
        name = str(walk.f_globals.get("__name__"))
        phase = phase_of_module(name)
        if phase is not None:
            return WAIT if waits else phase
        inside = inside or (name.startswith("kda_edge.") and not name.startswith(_OURS))
        walk = walk.f_back
    if not inside:
        return None
    return WAIT if waits else OTHER


def phase_of_module(name: str) -> str | None:
    """Return the phase of a module by its dotted name; None where none is named."""
    while name:
        if name in _PHASE_OF:
            return _PHASE_OF[name]
        name = name.rpartition(".")[0]
    return None
