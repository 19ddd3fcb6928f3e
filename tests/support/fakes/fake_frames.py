"""Sources of frames that do what a script says, on a clock that nobody has to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kda_edge.errors import VideoError
from kda_edge.runtime import Prediction
from kda_edge.runtime.streams.frame_reader import Clock
from kda_edge.runtime.streams.frames import Frame

SOON_S = 20.0  # far more than anything here takes: a test that would hang fails instead
LOST = "lost"  # in a script: the source gives nothing until it is opened again


def numbered(index: int, size_hw: tuple[int, int] = (4, 6)) -> np.ndarray:
    """A frame that knows its number, up to 255."""
    return np.full((*size_hw, 3), index % 256, np.uint8)


def seen(image: np.ndarray) -> Prediction:
    """The number of a frame, as its probability."""
    probability = image[..., 0].astype(np.float32)
    return Prediction(probability, np.zeros(image.shape[:2], np.uint8))


class FakeTime:
    """A clock that moves when it is told to; pauses move it, and are kept."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.pauses_s: list[float] = []
        self._lock = threading.Lock()

    def pass_by(self, seconds: float) -> None:
        with self._lock:
            self.now_s += seconds

    def pause(self, event: threading.Event, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.pass_by(seconds)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now_s, pause=self.pause)


class ScriptedSource:
    """Gives what its script says: frames' numbers, losses, errors; after the last, nothing."""

    def __init__(
        self,
        script: Sequence[Any],
        *,
        time: FakeTime | None = None,
        live: bool = False,
        threaded: bool = True,
        period_s: float = 0.0,
        can_reopen: Callable[[int], bool] = lambda tries: True,
    ) -> None:
        self.name, self.live, self.threaded, self.fps = "the script", live, threaded, None
        self.notes: list[str] = []
        self.closed, self.tries, self.threads = 0, 0, set[str]()
        self._left, self._time, self._period_s, self._can_reopen = list(script), time, period_s, can_reopen

    def read(self) -> Frame | None:
        assert not self.closed
        self.threads.add(threading.current_thread().name)
        if self._time is not None:
            self._time.pass_by(self._period_s)
        step = self._left[0] if self._left else LOST
        if step == LOST:
            return None
        del self._left[0]
        if isinstance(step, BaseException):
            raise step
        return Frame(numbered(step) if isinstance(step, int) else step)

    def skip(self) -> bool:
        return self.read() is not None

    def in_order(self, image: np.ndarray) -> np.ndarray:
        return image

    def reopen(self) -> None:
        self.tries += 1
        if not self._can_reopen(self.tries):
            raise VideoError("still lost")
        if self._left:
            assert self._left.pop(0) == LOST

    def close(self) -> None:
        self.closed += 1


class BurstSource(ScriptedSource):
    """A live source that gives a frame only where the test lets it, and tells when all of these have been left."""

    def __init__(self, count: int, time: FakeTime, period_s: float) -> None:
        super().__init__(range(count), time=time, live=True, period_s=period_s)
        self._changed = threading.Condition()
        self._asked, self._let, self._over = 0, 1, False

    def read(self) -> Frame | None:
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._asked <= self._let or self._over, SOON_S)
        return None if self._over else super().read()

    def let(self, count: int) -> None:
        """Let it give so many more, and wait until the last of them has been left for whoever wants it."""
        with self._changed:
            self._let += count
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._asked > self._let, SOON_S)

    def end(self) -> None:
        """Give nothing any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()


def reading_threads() -> list[str]:
    """Threads of streams that are still there."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kda-edge reads")]
