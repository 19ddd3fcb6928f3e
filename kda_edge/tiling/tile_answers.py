"""Answers of an engine for tiles: a probability of every pixel, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError, one_line

# Rounding may carry a sigmoid or a sum of exponentials this far past 0 or 1; more is a broken engine. Unmeasured.
RANGE_SLACK: Final = 1e-4
REASON_CHARS: Final = 500  # of a failure: enough for errors of our own, which end in what to do

# Raw pixels (N, C, T, T) to landslide probability (N, 1, T, T), 0..1.
Engine: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Answer: TypeAlias = NDArray[np.float32] | str  # probability (T, T), 0..1, or why there is none


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself beside its answers; the defaults are those of an engine of which nothing is known.

    Attributes:
        name: what runs the model, such as `cpu`; results and journals carry it.
        graph_sha256: digest of the graph that runs (`kda_edge.artifact_bytes.graph_digest`); empty: it has none.
        max_batch: most tiles a call that bring anything, 1 or more; None: more than one bring nothing.
        batch_invariant: a tile's answer has the same bytes whatever tiles are in its batch.
        threads: that the engine computes with, 0 for its own choice, where the bytes of its answers depend on them;
            None: they don't.
        measured: JSON of how far its answers lie from a CPU's on this device; maps carry it; empty: nobody compared.

    Raises:
        UsageError: a fact that can't be.
    """

    name: str = "custom"
    graph_sha256: str = ""
    max_batch: int | None = None
    batch_invariant: bool = True
    threads: int | None = None
    measured: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise UsageError("an engine must have a name; leave it out for `custom`")
        if not re.fullmatch("(?:[0-9a-f]{64})?", self.graph_sha256):
            raise UsageError(f"graph_sha256 must be 64 hexadecimal digits or empty, not {self.graph_sha256!r:.80}")
        if self.max_batch is not None and self.max_batch < 1:
            raise UsageError(f"an engine's max_batch must be 1 or more tiles, or None, not {self.max_batch}")
        if self.threads is not None and self.threads < 0:
            raise UsageError(f"an engine's threads must be 0 or more, or None, not {self.threads}")

    @property
    def batch(self) -> int:
        """Tiles a call that it is given in a scene, 1 or more."""
        return tiles_a_call(self.max_batch)


def tiles_a_call(max_batch: int | None) -> int:
    """Return how many tiles an engine is given at once in a scene: as many as bring anything, 1 where none do."""
    return 1 if max_batch is None else max_batch


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
