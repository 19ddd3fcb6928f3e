"""The batch that suits an engine best, found by trying, so that no contestant runs with a poor one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

CANDIDATES: Final = (1, 2, 4)  # on processors one tile fills the cores; more than 4 only cost memory there. Unmeasured.
ON_CARDS: Final = (4, 16, 64)  # a card is not full before; more than 64 bring nothing that a scene can use. Unmeasured.

Answer: TypeAlias = Callable[[NDArray[np.float32]], Any]  # raw tiles (N, 3, T, T) to anything


def tile_ms_by_batch(
    answer: Answer,
    tile_px: int,
    candidates: Sequence[int] = CANDIDATES,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[int, float]:
    """Return the milliseconds a tile of each batch size: one call to warm up, then the faster of two."""
    rng = np.random.default_rng(0)
    times_ms = {}
    for batch in candidates:
        tiles = rng.integers(0, 256, (batch, 3, tile_px, tile_px)).astype(np.float32)
        answer(tiles)
        seconds = []
        for _ in range(2):
            start = clock()
            answer(tiles)
            seconds.append(clock() - start)
        times_ms[batch] = 1000.0 * min(seconds) / batch
    return times_ms


def candidates_on(device: str) -> tuple[int, ...]:
    """Return the batches that are worth trying on a device."""
    return ON_CARDS if device == "cuda" else CANDIDATES


def chosen_batch(
    answer: Answer, tile_px: int, asked: int | None, candidates: Sequence[int] = CANDIDATES
) -> tuple[int, str]:
    """Return the batch, and why it is this one: `asked`, or the fastest of those tried."""
    if asked is not None:
        return asked, "as asked"
    times_ms = tile_ms_by_batch(answer, tile_px, candidates)
    return fastest(times_ms), "fastest of " + ", ".join(f"{n}: {ms:.1f} ms a tile" for n, ms in times_ms.items())


def fastest(times_ms: Mapping[int, float]) -> int:
    """Return the batch with the least time a tile; of equal ones the smallest."""
    return min(sorted(times_ms), key=lambda batch: times_ms[batch])
