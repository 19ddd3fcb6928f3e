"""Engines timed in turns on the same tiles, so that a slow minute falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import Manifest
from kda_edge.tiling.tile_answers import Engine, tiles_a_call

from .model_engine import BatchedEngine

ROUNDS: Final = 30  # of each, alternating
WARM_UP: Final = 10  # of each, until the clocks of the GPU are up and the graphs captured; unmeasured


def example_tiles(manifest: Manifest, batch: int) -> NDArray[np.float32]:
    """Return tiles to time an engine on, (batch, 3, T, T), noise over the model's range of values."""
    low, high = manifest.input.value_range
    shape = (batch, 3, manifest.tile_px, manifest.tile_px)
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)


def side_by_side(
    first: Engine,
    second: Engine,
    tiles: NDArray[np.float32],
    *,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Return the median times of one call of each of two engines, ms; see `in_turns`."""
    first_ms, second_ms = in_turns((first, second), tiles, rounds=rounds, clock=clock)
    return first_ms, second_ms


def in_turns(
    engines: Sequence[Engine],
    tiles: NDArray[np.float32],
    *,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return the median time of one call of each engine, ms, run in turns so that a slow minute falls on all.

    Args:
        engines: two or more.
        tiles: that each call is given; copies to the device and back are in the time.
        rounds: counted runs of each.
        warm_up: runs of each before those.
        clock: in seconds.
    """
    calls = [partial(engine, tiles) for engine in engines]
    times_ms = times_in_turns(calls, rounds=rounds, warm_up=warm_up, clock=clock)
    return [float(median_ms) for median_ms in np.median(times_ms, axis=0)]


def times_in_turns(
    calls: Sequence[Callable[[], object]],
    *,
    rounds: int,
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Call each once a round, always in the same order, and return what it took, ms, (rounds, calls).

    Args:
        calls: each does its whole work once and waits until it is done.
        rounds: that count, 1 or more.
        warm_up: rounds before them that do not.
        clock: in seconds.
        progress: called after each round with rounds done and rounds in all, warm-up included.
    """
    times_ms = np.empty((rounds, len(calls)))
    for done in range(warm_up + rounds):
        for column, call in enumerate(calls):
            start = clock()
            call()
            elapsed_ms = (clock() - start) * 1000.0
            if done >= warm_up:
                times_ms[done - warm_up, column] = elapsed_ms
        if progress is not None:
            progress(done + 1, warm_up + rounds)
    return times_ms


def most_tiles(engines: Sequence[BatchedEngine]) -> int:
    """Return the tiles with which each of some engines can show what it does in a scene."""
    return max(tiles_a_call(engine.max_batch) for engine in engines)


def as_used(engine: BatchedEngine) -> Engine:
    """Return an engine that is given as many tiles a call as a scene gives it: its `max_batch`, or 1 if it has none."""
    batch = tiles_a_call(engine.max_batch)

    def answer(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([engine(tiles[i : i + batch]) for i in range(0, len(tiles), batch)])

    return answer
