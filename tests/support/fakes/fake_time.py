"""Time that passes only when a test says so, and engines that take as long as they are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import Manifest


class FakeClock:
    """Seconds; each reading may itself take some."""

    def __init__(self, reading_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.reading_s = reading_s

    def __call__(self) -> float:
        self.now_s += self.reading_s
        return self.now_s

    def pass_ms(self, duration_ms: float) -> None:
        self.now_s += duration_ms / 1e3


class EngineThatTakes:
    """Answers 0.5 everywhere after the next of `durations_ms`; counts the tiles that it was given."""

    def __init__(self, clock: FakeClock, durations_ms: Iterable[float]) -> None:
        self.clock, self.durations_ms = clock, iter(durations_ms)
        self.tiles = 0

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        assert tiles.dtype == np.float32
        assert tiles.shape[1] == 3
        self.tiles += len(tiles)
        self.clock.pass_ms(next(self.durations_ms))
        return np.full((len(tiles), 1, *tiles.shape[2:]), 0.5, np.float32)


class EngineThatTellsPhases(EngineThatTakes):
    """Splits each duration as told, `{"copy_in": 0.2, ...}` being shares."""

    def __init__(self, clock: FakeClock, durations_ms: Iterable[float], shares: Mapping[str, float]) -> None:
        super().__init__(clock, durations_ms)
        self.shares = shares

    def timed(self, tiles: NDArray[np.float32]) -> tuple[NDArray[np.float32], Mapping[str, float]]:
        before_s = self.clock.now_s
        answer = self(tiles)
        taken_ms = (self.clock.now_s - before_s) * 1e3
        return answer, {name: taken_ms * share for name, share in self.shares.items()}


def small_manifest(tile_px: int = 32) -> Manifest:
    return Manifest(
        variant="tiny-test", parameters=1, checkpoint_sha256="ab" * 32, tile_px=tile_px, package_version="0.1.0"
    )
