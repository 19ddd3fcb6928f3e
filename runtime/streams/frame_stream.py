"""A stream of results for frames: every frame of a recording, the newest frame of a live source."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from inspect import GEN_RUNNING, getgeneratorstate
from types import TracebackType
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.manifest import PIXEL_TYPES
from kda_edge.opening_process import OpeningProcess
from kda_edge.tiling.pixels import unmasked

from ..results import Prediction
from .frame_reader import Clock, FrameReader, Grabbed, Stop, StreamOptions
from .frames import FrameSource
from .newest_frame import Slot
from .stream_results import FrameResult, FrameTimings, StreamCounter, StreamSummary

JOIN_S: Final = 15.0  # for the reading thread to end: longer than a source's own time-outs

Predict: TypeAlias = Callable[[NDArray[Any]], Prediction]

_log = logging.getLogger(__name__)


class FrameStream:
    """An iterator over the results of frames, made by `Segmenter.stream`; a context manager that stops it."""

    def __init__(
        self, source: FrameSource, predict: Predict, options: StreamOptions | None = None, clock: Clock | None = None
    ) -> None:
        """Take frames from an open source, which is closed at the end.

        Args:
            source: open.
            predict: a frame in the model's order of bands to what the model says of it.
            options: how frames are looked at.
            clock: of the latencies.
        """
        self.source = source
        self._counter = StreamCounter()
        options = options or StreamOptions()
        self._stop = Stop(options.cancel)
        self._begun = False
        self._process = OpeningProcess(self)
        reader = FrameReader(source, self._counter, options, clock or Clock(), self._stop)
        # The generator knows nothing of this object: when that is dropped, it is closed, and its thread with it.
        self._results = _results(reader, predict)

    @property
    def summary(self) -> StreamSummary:
        """The figures up to now; any thread of the process that opened the stream may ask."""
        self._process.require("the stream")
        return self._counter.summary(tuple(self.source.notes))

    def __iter__(self) -> FrameStream:
        return self

    def __next__(self) -> FrameResult:
        self._process.require("the stream")
        self._begun = True
        return next(self._results)

    def stop(self) -> None:
        """End the stream after the frame that is at work now; any thread may say so. In a fork it does nothing."""
        if self._process.is_this:
            self._stop.ask()

    def close(self) -> None:
        """End the stream, wait for its thread, let go of the source; closing twice is no error.

        From another thread than the one that iterates this is `stop`: the one that iterates then does the rest. In a
        fork of the process that opened the stream it does nothing.
        """
        if not self._process.is_this:
            return
        self.stop()
        if not self._begun:
            self.source.close()
        if getgeneratorstate(self._results) != GEN_RUNNING:
            self._results.close()

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _results(reader: FrameReader, predict: Predict) -> Generator[FrameResult, None, None]:
    """Yield a result a frame; a frame whose result is never made counts as dropped."""
    options = reader.options
    last_index, last_reconnects = -options.every, 0
    with closing(_arriving(reader)) as frames:
        for grabbed in frames:
            try:
                result, done_s = _look_at(grabbed, reader, predict)
            except BaseException:
                reader.counter.drop()
                raise
            result = replace(
                result,
                dropped=(grabbed.index - last_index) // options.every - 1,
                reconnects=grabbed.reconnects - last_reconnects,
            )
            last_index, last_reconnects = grabbed.index, grabbed.reconnects
            reader.counter.result(result, done_s)
            yield result
            del grabbed, result  # or a frame would be held while the next is waited for


def _arriving(reader: FrameReader) -> Generator[Grabbed, None, None]:
    """Yield frames as they are asked for; where the source allows it, a thread reads them, one ahead at most."""
    source, drop = reader.source, reader.options.drop
    if not source.threaded:
        try:
            yield from reader
        finally:
            source.close()
        return
    slot = Slot[Grabbed](replace=source.live if drop is None else drop)

    def read() -> None:
        try:
            for grabbed in reader:
                if slot.put(grabbed) is not None:
                    reader.counter.drop()
        except BaseException as error:  # raised again where the results are asked for
            slot.end(error)
        finally:
            slot.end()
            source.close()  # here, as a source is of one thread only

    thread = threading.Thread(target=read, name=f"kda-edge reads {source.name}", daemon=True)
    thread.start()
    try:
        yield from iter(lambda: slot.take(reader.stop.asked), None)
    finally:
        reader.stop.ask()
        if slot.stop() is not None:
            reader.counter.drop()
        thread.join(JOIN_S)
        if thread.is_alive():
            _log.warning("%s does not answer; its thread ends when it does", source.name)


def _look_at(grabbed: Grabbed, reader: FrameReader, predict: Predict) -> tuple[FrameResult, float]:
    """Return the result of a frame, as the first of the stream, and when it was there."""
    clock = reader.clock
    taken_s = clock.now()
    frame = reader.source.in_order(grabbed.image)
    small = _reduced(frame, reader.options.max_side_px)
    ready_s = clock.now()
    try:
        prediction = predict(small)
    except UsageError as error:
        raise UsageError(f"frame {grabbed.index} of {reader.source.name}: {error}") from error
    done_s = clock.now()
    timings = FrameTimings(
        read_ms=grabbed.read_ms,
        wait_ms=(taken_s - grabbed.at_s) * 1000,
        prepare_ms=(ready_s - taken_s) * 1000,
        predict_ms=(done_s - ready_s) * 1000,
        engine_ms=prediction.engine_seconds * 1000,
    )
    result = FrameResult(
        index=grabbed.index,
        timestamp_s=grabbed.timestamp_s,
        frame=np.ma.getdata(frame),
        prediction=prediction,
        dropped=0,
        reconnects=0,
        latency_ms=(done_s - grabbed.at_s) * 1000,
        timings=timings,
    )
    return result, done_s


def _reduced(frame: NDArray[Any], max_side_px: int | None) -> NDArray[Any]:
    """Return a frame with its longer side at most max_side_px, pixels averaged; what is no image is for `predict`."""
    if max_side_px is None or np.ndim(frame) != 3 or frame.dtype not in PIXEL_TYPES:
        return frame
    height_px, width_px = frame.shape[:2]
    scale = max_side_px / max(height_px, width_px, 1)
    if scale >= 1:
        return frame
    size_wh = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    image, valid = unmasked(frame)
    if valid is None or valid.all():
        return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA))
    return _reduced_masked(image, valid, size_wh)


def _reduced_masked(image: NDArray[Any], valid: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[Any]:
    """Return means of the valid pixels, masked where they are half or less of what a pixel covers."""
    weight = cv2.resize(valid.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    known = np.where(valid[..., None], image, 0).astype(np.float32)
    total = cv2.resize(known, size_wh, interpolation=cv2.INTER_AREA)
    mean = total / np.maximum(weight, np.float32(1e-6))[..., None]
    if image.dtype.kind in "iu":
        limits = np.iinfo(image.dtype)
        mean = np.clip(np.rint(mean), limits.min, limits.max)
    few = np.broadcast_to((weight <= 0.5)[..., None], mean.shape)
    return np.ma.masked_array(mean.astype(image.dtype), few)
