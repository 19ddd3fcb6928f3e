"""Answers of an engine for tiles: a probability of every pixel, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import one_line

# Rounding may carry a sigmoid or a sum of exponentials this far past 0 or 1; more is a broken engine. Unmeasured.
RANGE_SLACK: Final = 1e-4
REASON_CHARS: Final = 500  # of a failure: enough for errors of our own, which end in what to do

# Raw pixels (N, C, T, T) to landslide probability (N, 1, T, T), 0..1.
Engine: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Answer: TypeAlias = NDArray[np.float32] | str  # probability (T, T), 0..1, or why there is none


def answers_of(engine: Engine, tiles: NDArray[np.float32]) -> list[Answer]:
    """Return each tile's probability, in an array of its own, or why there is none after a second try on its own."""
    if not len(tiles):
        return []
    first = _attempt(engine, tiles)
    return [_attempt(engine, tiles[i : i + 1])[0] if isinstance(a, str) else a for i, a in enumerate(first)]


def _attempt(engine: Engine, tiles: NDArray[np.float32]) -> Sequence[Answer]:
    expected = (len(tiles), 1, *tiles.shape[2:])
    try:
        output = np.asarray(engine(tiles), np.float32)
    except Exception as error:  # whatever an engine throws: the tile is failed, never background
        kind, reason = type(error).__name__, one_line(error, REASON_CHARS)
        return [kind if reason == kind else f"{kind}: {reason}"] * len(tiles)
    if output.shape != expected:
        return [f"output of shape {output.shape} instead of {expected}"] * len(tiles)
    return [_checked(probability) for probability in output[:, 0]]


def _checked(probability: NDArray[np.float32]) -> Answer:
    low, high = float(probability.min()), float(probability.max())  # NaN if any pixel is
    if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):
        return f"output from {low:g} to {high:g} is no probability"
    return np.clip(probability, 0, 1)  # a copy in any case: an engine may use its output again
