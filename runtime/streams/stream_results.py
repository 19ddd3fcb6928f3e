"""Results of a stream: a value a frame, and running figures that stay small however long it flies."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..results import Prediction

LATENCIES_KEPT: Final = 100_000  # of the newest frames, an hour at 28 a second; percentiles are of these


@dataclass(frozen=True)
class FrameTimings:
    """Where a frame's time went, milliseconds.

    Attributes:
        read_ms: until the source gave it: waiting for it, decoding; before the clock of the latency starts.
        wait_ms: until its turn came.
        prepare_ms: order of bands and scale.
        predict_ms: tiles, engine, blending.
        engine_ms: of `predict_ms`, in the engine.
    """

    read_ms: float
    wait_ms: float
    prepare_ms: float
    predict_ms: float
    engine_ms: float


@dataclass(frozen=True)
class FrameResult:
    """What a model says of one frame.

    Attributes:
        index: number of the frame in its source, from 0; frames dropped and passed over count.
        timestamp_s: where the frame lies in its recording, seconds; of sources that don't say, seconds from the
            stream's start to the frame's arrival.
        frame: the pixels as they came, (H, W, 3), in the model's order of bands.
        prediction: of the frame, or of its smaller copy where `max_side_px` asks for one: (H, W) of that. Where tiles
            failed, `prediction.failures` says which, and pixels that nobody answered for are NaN and 255.
        dropped: frames that came since the result before and were never looked at, because newer ones came.
        reconnects: times that the source was lost and found again since the result before.
        latency_ms: from the frame's arrival in this process to its result; exposure, network and decoder come before.
        timings: where the time went.
    """

    index: int
    timestamp_s: float
    frame: NDArray[Any]
    prediction: Prediction
    dropped: int
    reconnects: int
    latency_ms: float
    timings: FrameTimings


@dataclass(frozen=True)
class StreamSummary:
    """Figures of a stream up to now. `frames_in` is the sum of `frames_out`, `dropped`, `skipped` and `pending`.

    Attributes:
        frames_in: that the source gave.
        frames_out: that have a result.
        dropped: that were never looked at: newer ones came, or the stream was stopped.
        skipped: passed over because `every` asked for it.
        pending: waiting or at work now; 0 once the stream has ended.
        failed_tiles: tiles without an answer, in all results.
        reconnects: times that a live source was lost and found again.
        seconds: from the first read to the newest result.
        fps: results a second over that time; 0 before the first.
        latency_p50_ms: median latency of the newest `LATENCIES_KEPT` results, as `numpy.percentile` has it; NaN before
            the first, as the three below.
        latency_p95_ms: 95 of 100 results took at most so long.
        latency_p99_ms: 99 of 100.
        latency_max_ms: the longest of all.
        notes: what a person should know, a sentence each.
    """

    frames_in: int
    frames_out: int
    dropped: int
    skipped: int
    pending: int
    failed_tiles: int
    reconnects: int
    seconds: float
    fps: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    latency_max_ms: float
    notes: tuple[str, ...] = ()


class StreamCounter:
    """Adds up what happens to frames; any thread may tell it and ask it."""

    def __init__(self, *, kept: int = LATENCIES_KEPT) -> None:
        self._lock = threading.Lock()
        self._latencies_ms: deque[float] = deque(maxlen=kept)
        self._longest_ms = math.nan
        self._in = self._out = self._dropped = self._skipped = self._failed_tiles = self._reconnects = 0
        self._first_s: float | None = None
        self._newest_s = 0.0

    def start(self, now_s: float) -> None:
        """Count seconds from here, if not from before."""
        with self._lock:
            self._first_s = now_s if self._first_s is None else self._first_s

    def came(self, *, skipped: bool = False) -> None:
        """Count a frame that the source gave."""
        with self._lock:
            self._in += 1
            self._skipped += skipped

    def drop(self) -> None:
        """Count a frame that nobody will look at."""
        with self._lock:
            self._dropped += 1

    def reconnect(self) -> None:
        """Count a source that was found again."""
        with self._lock:
            self._reconnects += 1

    def result(self, result: FrameResult, now_s: float) -> None:
        """Count a result."""
        with self._lock:
            self._out += 1
            self._failed_tiles += len(result.prediction.failures)
            self._latencies_ms.append(result.latency_ms)
            self._longest_ms = max(result.latency_ms, self._longest_ms)  # in this order: NaN gives way
            self._newest_s = now_s

    def summary(self, notes: tuple[str, ...] = ()) -> StreamSummary:
        """Return the figures up to now."""
        with self._lock:
            latencies_ms = np.array(self._latencies_ms)
            seconds = self._newest_s - self._first_s if self._first_s is not None and self._out else 0.0
            p50, p95, p99 = np.percentile(latencies_ms, (50, 95, 99)) if self._out else (math.nan,) * 3
            return StreamSummary(
                frames_in=self._in,
                frames_out=self._out,
                dropped=self._dropped,
                skipped=self._skipped,
                pending=self._in - self._out - self._dropped - self._skipped,
                failed_tiles=self._failed_tiles,
                reconnects=self._reconnects,
                seconds=seconds,
                fps=self._out / seconds if seconds > 0 else 0.0,
                latency_p50_ms=float(p50),
                latency_p95_ms=float(p95),
                latency_p99_ms=float(p99),
                latency_max_ms=self._longest_ms,
                notes=notes,
            )
