"""A reader of frames, one by one, that finds its source again when it is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from numpy.typing import NDArray

from kda_edge.errors import UsageError, VideoError

from .frames import FrameSource
from .stream_results import StreamCounter

FIRST_PAUSE_S: Final = 0.5  # before the first try to find a lost source again; doubled with each, up to
LONGEST_PAUSE_S: Final = 8.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clock:
    """The time, and the pause between tries; tests bring their own.

    Attributes:
        now: seconds.
        pause: waits for the event, so many seconds at most.
    """

    now: Callable[[], float] = time.perf_counter
    pause: Callable[[threading.Event, float], object] = threading.Event.wait


@dataclass(frozen=True)
class Grabbed:
    """A frame on its way.

    Attributes:
        index: number in the source, from 0; frames that were passed over count.
        image: in the source's order of channels.
        timestamp_s: as in `FrameResult`.
        at_s: when it arrived, on the clock.
        read_ms: that its reading took.
        reconnects: times that the source had been lost and found again before it.
    """

    index: int
    image: NDArray[Any]
    timestamp_s: float
    at_s: float
    read_ms: float
    reconnects: int


@dataclass(frozen=True)
class StreamOptions:
    """How frames are looked at; `Segmenter.stream` explains each."""

    drop: bool | None = None
    every: int = 1
    max_side_px: int | None = None
    reconnect_s: float = 30.0
    seconds: float = inf
    cancel: threading.Event | Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"every must be 1 or more, not {self.every}; 2 looks at every other frame")
        if self.max_side_px is not None and self.max_side_px < 1:
            raise UsageError(f"a frame's longest side can't be {self.max_side_px} px; give 1 px or more")
        if not self.reconnect_s >= 0:
            raise UsageError(f"reconnect_s must be 0 or more, not {self.reconnect_s:g}")
        if not self.seconds > 0:
            raise UsageError(f"seconds must be above 0, not {self.seconds:g}")


class Stop:
    """Whether to stop: said here, or by what the caller gave to be asked."""

    def __init__(self, cancel: threading.Event | Callable[[], bool] | None = None) -> None:
        self.event = threading.Event()
        self._cancelled = cancel.is_set if isinstance(cancel, threading.Event) else cancel

    def ask(self) -> None:
        """Have it stop; pauses end."""
        self.event.set()

    def asked(self) -> bool:
        """Whether to stop."""
        return self.event.is_set() or (self._cancelled is not None and self._cancelled())


class FrameReader:
    """The frames of a source, each `every`-th of them; iterated once."""

    def __init__(
        self,
        source: FrameSource,
        counter: StreamCounter,
        options: StreamOptions,
        clock: Clock,
        stop: Stop,
    ) -> None:
        """Read an open source.

        Args:
            source: open.
            counter: told of each frame that comes.
            options: how frames are looked at.
            clock: for arrivals and pauses.
            stop: asked at each frame and pause.
        """
        self.source, self.counter, self.options, self.clock, self.stop = source, counter, options, clock, stop
        self._start_s = 0.0
        self._lost_s: float | None = None  # since when no frame has come
        self._pause_s = FIRST_PAUSE_S
        self._reconnects = 0

    def __iter__(self) -> Iterator[Grabbed]:
        """Yield frames until the source ends, time is up or somebody stops.

        Raises:
            VideoError: a live source was lost and not found again in time; a file can't be read.
        """
        self._start_s = self.clock.now()
        self.counter.start(self._start_s)
        index = 0
        while not self._over():
            before_s = self.clock.now()
            skipped = index % self.options.every > 0
            frame = None if skipped else self.source.read()
            if frame is None and not (skipped and self.source.skip()):
                if not self.source.live:
                    return
                self._find_again()
                continue
            at_s = self.clock.now()
            if frame is not None:
                timestamp_s = at_s - self._start_s if frame.timestamp_s is None else frame.timestamp_s
                if timestamp_s >= self.options.seconds:
                    return
            self._found()
            self.counter.came(skipped=skipped)
            if frame is not None:
                read_ms = (at_s - before_s) * 1000
                yield Grabbed(index, frame.image, timestamp_s, at_s, read_ms, self._reconnects)
            index += 1

    def _over(self) -> bool:
        late = self.source.live and self.clock.now() - self._start_s >= self.options.seconds
        return late or self.stop.asked()

    def _found(self) -> None:
        if self._lost_s is not None:
            _log.warning("%s is back after %.1f s", self.source.name, self.clock.now() - self._lost_s)
            self._lost_s, self._pause_s = None, FIRST_PAUSE_S
            self._reconnects += 1
            self.counter.reconnect()

    def _find_again(self) -> None:
        """Pause, longer each time, and open the source again, until that goes well; only a frame ends the loss."""
        if self._lost_s is None:
            self._lost_s = self.clock.now()
            _log.warning("%s is lost; trying again for %g s", self.source.name, self.options.reconnect_s)
        while not self._over():
            left_s = self._lost_s + self.options.reconnect_s - self.clock.now()
            if left_s <= 0:
                raise VideoError(
                    f"{self.source.name} was lost and not found again within {self.options.reconnect_s:g} s; "
                    "check power, cable and network"
                )
            self.clock.pause(self.stop.event, min(self._pause_s, left_s))
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            if self._over():
                return
            try:
                self.source.reopen()
            except VideoError as error:
                _log.info("%s", error)
            else:
                return
