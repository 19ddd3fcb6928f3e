"""A sampler of threads by stage of the host's work: what each was busy for, and what it took of the processor.

As `thread_phases`, from outside and without a change of the runtime, but finer, and with each thread's own processor
clock, which stands while another program has the core. Linux only: other systems don't tell a thread's time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Final, NamedTuple

from kda_edge.errors import UsageError

PERIOD_S: Final = 0.003
OTHER: Final = "other"
ENGINE: Final = "engine"

# By stage: packages, modules, and functions of modules inside `kda_edge`; the longest name that fits decides.
STAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "read": ("runtime.scenes", "runtime.geo", "rasters", "tiling.pixels"),
    "digest of the scene": ("runtime.scenes.scene_digest",),
    "fill and cut tiles": ("tiling.tile_stream", "tiling.fill_nodata", "tiling.tile_grid"),
    "map values": ("runtime.mapping.value_range",),
    ENGINE: ("benchmarks.measuring.stand_in_engines",),
    "check answers": ("tiling.tile_answers",),
    "blend": ("tiling",),
    "class, probability, qa": ("runtime.mapping", "runtime.map_format"),
    "journal": ("runtime.runs", "whole_files"),
    "map blocks": ("runtime.outputs",),
    "mask, overviews": ("runtime.outputs.map_geotiff._complete",),
    "read the map back": ("runtime.outputs.map_geotiff.verify",),
    "polygons": ("runtime.polygons",),
    "picture": ("runtime.outputs.picture", "runtime.outputs.picture_cells", "runtime.outputs.legend"),
}
WHOLE: Final = ("picture",)  # stages that own whatever they call, reading too
_STAGE_OF: Final = {f"kda_edge.{part}": stage for stage, parts in STAGES.items() for part in parts}
_WAITS: Final = {"threading", "queue", "concurrent.futures._base", "concurrent.futures.thread"}


class Sample(NamedTuple):
    """What a thread did since the sample before.

    Attributes:
        at_s: when, on the clock of `time.perf_counter`.
        thread: its name, without the number of its executor.
        stage: in which it was.
        busy_s: since the sample before; 0 where it waits for another thread.
        processor_s: that it had of a core.
    """

    at_s: float
    thread: str
    stage: str
    busy_s: float
    processor_s: float


class StageSampler:
    """Samples the threads of this process while its block runs.

    Attributes:
        samples: in the order of their times.
        processor_s: of the whole process while the block ran, less what sampling took.
    """

    def __init__(self, *, period_s: float = PERIOD_S) -> None:
        """Sample nothing yet.

        Raises:
            UsageError: this system does not tell what a thread takes of the processor.
        """
        if not sys.platform.startswith("linux"):
            raise UsageError("only Linux tells what each thread takes of the processor; measure there")
        self.samples: list[Sample] = []
        self.processor_s = 0.0
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="kda-bench-stages", daemon=True)
        self._own_s = 0.0

    def __enter__(self) -> StageSampler:
        self._before_s = time.process_time()
        self._seen_s = {thread.native_id: _thread_s(thread.native_id) or 0.0 for thread in threading.enumerate()}
        self._stage: dict[int | None, str] = {}
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.processor_s = time.process_time() - self._before_s - self._own_s

    def _sample(self) -> None:
        last_s = time.perf_counter()
        while not self._ended.wait(self._period_s):
            now_s = time.perf_counter()
            frames = sys._current_frames()  # the one way to see other threads, and documented
            for thread in threading.enumerate():
                if thread is not self._thread and thread.ident in frames:
                    self._one(thread, frames[thread.ident], now_s, now_s - last_s)
            last_s = now_s
        self._own_s = time.thread_time()

    def _one(self, thread: threading.Thread, frame: FrameType, now_s: float, since_s: float) -> None:
        spent_s = _thread_s(thread.native_id)
        if spent_s is None:
            return
        stage = stage_of_frame(frame)
        # What a thread that waits by now has spent belongs to what it did before.
        known = stage or self._stage.get(thread.native_id, OTHER)
        self._stage[thread.native_id] = known
        processor_s = spent_s - self._seen_s.get(thread.native_id, 0.0)
        self._seen_s[thread.native_id] = spent_s
        if stage is not None or processor_s > 0:
            name = thread.name.rpartition("_")[0] or thread.name
            self.samples.append(Sample(now_s, name, known, since_s if stage is not None else 0.0, processor_s))


def stage_of_frame(frame: FrameType) -> str | None:
    """Return the stage of a thread by its innermost frame; None where it waits for another, or is none of ours."""
    if frame.f_globals.get("__name__") in _WAITS:
        return None
    found: str | None = None
    inside = False
    walk: FrameType | None = frame
    while walk is not None:
        name = f"{walk.f_globals.get('__name__')}.{walk.f_code.co_name}"
        stage = stage_of_name(name)
        if stage in WHOLE:
            return stage
        found = found or stage
        inside = inside or (name.startswith("kda_edge.") and not name.startswith("kda_edge.benchmarks."))
        walk = walk.f_back
    return found or (OTHER if inside else None)


def stage_of_name(name: str) -> str | None:
    """Return the stage of a function by its dotted name, or of a module; None where none is named."""
    while name:
        if name in _STAGE_OF:
            return _STAGE_OF[name]
        name = name.rpartition(".")[0]
    return None


def summed(samples: Iterable[Sample], by: Callable[[Sample], str], what: Callable[[Sample], float]) -> Counter[str]:
    """Return sums over samples, such as processor seconds by stage."""
    sums: Counter[str] = Counter()
    for sample in samples:
        sums[by(sample)] += what(sample)  # type: ignore[assignment]  # Counter says int and takes floats
    return sums


def wall_on_cores(sampler: StageSampler, last_answer_s: float, engine_s: float, cores: int) -> float:
    """Compute the wall clock's seconds on so many cores: nothing waits but for its own thread, the engine or a core.

    Before the last answer of the engine the longest of its calls, of a thread's processor time and of an even share of
    all cores decides; so it does after it, when the files are completed. No more than an estimate: memory and disk,
    which cores share, are left out, and threads are taken to be as even as they can be.

    Args:
        sampler: of a run.
        last_answer_s: when the engine gave its last answer.
        engine_s: of all its calls.
        cores: 1 or more.
    """
    wall_s = 0.0
    seen_s = sum(sample.processor_s for sample in sampler.samples)
    scale = sampler.processor_s / seen_s if seen_s else 1.0  # of what ended between two samples
    for chosen, least_s in (
        ([sample for sample in sampler.samples if sample.at_s <= last_answer_s], engine_s),
        ([sample for sample in sampler.samples if sample.at_s > last_answer_s], 0.0),
    ):
        by_thread = summed(chosen, lambda sample: sample.thread, lambda sample: sample.processor_s)
        longest_s, all_s = max(by_thread.values(), default=0.0), sum(by_thread.values())
        wall_s += max(least_s, longest_s * scale, all_s * scale / cores)
    return wall_s


def _thread_s(native_id: int | None) -> float | None:
    """Return the processor time of a thread; None where it is gone.

    As pthread_getcpuclockid(3) has it, but by the kernel's number, which may be asked of a thread that has ended.
    """
    if native_id is None:
        return None
    try:
        return time.clock_gettime((~native_id << 3) | 6)
    except OSError:
        return None
