"""An engine that remembers when it was at work."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kda_edge.tiling.tile_answers import Engine


class BusyEngine:
    """An engine like the one inside it, calls noted.

    Attributes:
        spans_s: start and end of each call on the clock.
        tiles: that it was given.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.perf_counter) -> None:
        self._engine, self._clock = engine, clock
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self.spans_s: list[tuple[float, float]] = []
        self.tiles = 0

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answer of the engine inside."""
        start = self._clock()
        try:
            return self._engine(tiles)
        finally:
            self.spans_s.append((start, self._clock()))
            self.tiles += len(tiles)

    @property
    def busy_s(self) -> float:
        """Seconds in which one call or more was under way."""
        busy, reached = 0.0, float("-inf")
        for start, end in sorted(self.spans_s):
            busy += max(end - max(start, reached), 0.0)
            reached = max(reached, end)
        return busy
