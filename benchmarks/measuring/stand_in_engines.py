"""Stand-ins for an engine: no model at all, so that what is measured is the host, which reads, blends and writes.

Their map means nothing. Whatever carries an engine's name says so: `instant: no model`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kda_edge.runtime.engines.engine_names import ENGINES
from kda_edge.tiling.tile_answers import EngineFacts

INSTANT: Final = "instant"
SIMULATED: Final = "simulated"
NO_MODEL: Final = "no model"
BATCH: Final = 4  # tiles a call, as the CPU's engines take them
FIELDS: Final = 13  # that tiles get in an order that follows their pixels: of one, a compressor would find the next
MPX_A_CALL: Final = 4.0  # of tiles, that a simulated engine's milliseconds are for

# About as the bundled student's map of a drone's orthomosaic, where it tells on the host: as many landslides, as long
# outlines, as many bits a pixel once compressed. The grain is 0 where the probability is 0.5, lest outlines fray.
_BLOBS_PX: Final = ((32.0, 1.0), (14.0, 0.3))  # spread, weight
_STEEPNESS, _BELOW, _GRAIN = 1.5, 0.4, 0.006


@dataclass(frozen=True)
class StandIn:
    """An engine that gives tiles one of a few probability fields, at once or after a while.

    Attributes:
        name: as it was asked for, and that there is no model behind it.
        answers: (fields and then the first few of them again, 1, T, T), 0..1.
        mpx_a_second: of tiles; None: at once.
        sleep: waits some seconds without holding the interpreter's lock, as an engine on a GPU does.
    """

    name: str
    answers: NDArray[np.float32]
    mpx_a_second: float | None = None
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return as many fields as there are tiles, from one on that the first tile's middle pixel chooses."""
        if self.mpx_a_second is not None:
            self.sleep(tiles.shape[0] * tiles.shape[2] * tiles.shape[3] / 1e6 / self.mpx_a_second)
        if not len(tiles):
            return self.answers[:0]
        middle = tiles.shape[2] // 2
        first = int(tiles[0, :, middle, middle].sum()) % (len(self.answers) - BATCH + 1)
        return self.answers[first : first + len(tiles)]  # not copied: it would count as the host's

    @property
    def facts(self) -> EngineFacts:
        """What it says of itself."""
        return EngineFacts(name=self.name, max_batch=BATCH)


def stand_in(engine: str, tile_px: int) -> StandIn:
    """Return the stand-in that `--engine` names.

    Args:
        engine: `instant`, or `simulated:MS`: milliseconds for 4 Mpx of tiles.
        tile_px: side of a tile.
    """
    fields = [probability_field(tile_px, seed) for seed in range(FIELDS)]
    answers = np.stack([*fields, *fields[: BATCH - 1]])[:, None]
    _, _, milliseconds = engine.partition(":")
    rate = MPX_A_CALL / float(milliseconds) * 1e3 if milliseconds else None
    return StandIn(f"{engine}: {NO_MODEL}", answers, rate)


def probability_field(tile_px: int, seed: int) -> NDArray[np.float32]:
    """Return a field of probability with landslides in it, (T, T), 0..1."""
    random = np.random.default_rng(seed)

    def noise(spread_px: float) -> NDArray[np.float32]:
        blurred = cv2.GaussianBlur(random.standard_normal((tile_px, tile_px), np.float32), (0, 0), spread_px)
        return np.asarray(blurred / blurred.std(), np.float32)

    smaller = min(1.0, tile_px / 256)
    height = sum(weight * noise(spread_px * smaller) for spread_px, weight in _BLOBS_PX)
    smooth = 1 / (1 + np.exp(_BELOW - _STEEPNESS * height))
    return np.asarray(np.clip(smooth + _GRAIN * np.abs(2 * smooth - 1) * noise(1.0), 0, 1), np.float32)


def is_stand_in(engine: str) -> bool:
    """Whether the name of an engine is that of a stand-in."""
    return engine.partition(":")[0] in (INSTANT, SIMULATED)


def engine_or_stand_in(text: str) -> str:
    """Return the name of an engine or a stand-in, as `--engine` takes it.

    Raises:
        argparse.ArgumentTypeError: there is no such engine.
    """
    kind, _, number = text.partition(":")
    if text in (*ENGINES, INSTANT) or (kind == SIMULATED and _is_time(number)):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r} is no engine; give one of {', '.join(ENGINES)}, {INSTANT}, or {SIMULATED}:MS"
    )


def _is_time(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and value > 0
