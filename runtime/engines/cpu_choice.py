"""OpenVINO or ONNX Runtime: whether they agree on this machine and which is faster, found out once and kept.

Certificates are made with ONNX Runtime. Before OpenVINO maps anything with a model, both answer the tiles that
certificates are made with, and on the worst of them what lies between them must be within what the certificate allows.
Which of them is faster depends on processor, cores and graph, so that they are timed in turns. A record that can't be
kept costs that time at each start, nothing else.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from kda_edge.certificate import Budget, TileParity
from kda_edge.manifest import Manifest
from kda_edge.tiling.tile_answers import Engine, tiles_a_call

from .in_turns import as_used, in_turns, most_tiles
from .model_engine import BatchedEngine
from .tile_comparison import beyond, compared_on, farthest, most_changed, probe_tile, trial_tiles

# A choice. `nano` on an EPYC with AVX512-BF16 and without AMX exceeds it: 0.065 on "terrain, one half
# nodata", 0.041 on the example scene (OpenVINO 2026.4.1).
BFLOAT16: Final = Budget(max_abs=0.05, iou_points=0.5)
UNCERTIFIED: Final = {"fp32": Budget(max_abs=1e-4)}  # what `kda-export` allows unless told otherwise
UNCERTIFIED_LOWER: Final = Budget(iou_points=0.5)
SAVES: Final = 0.10  # share of ONNX Runtime's time; between equals it stays, as the certificate was made with it
SAVES_MS: Final = 1.0  # a tile; less is within the noise of so few runs
SPENT_S: Final = 1.0  # about, on timing
ROUNDS: Final = (3, 9)  # fewest and most, of each

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """An engine against ONNX Runtime.

    Attributes:
        tiles: how far it lies from it on each tile, one or more.
        cpu_ms: median of ONNX Runtime, a tile.
        other_ms: median of the other engine.
    """

    tiles: tuple[TileParity, ...]
    cpu_ms: float
    other_ms: float

    def __post_init__(self) -> None:
        if not self.tiles or not all(math.isfinite(ms) and ms >= 0 for ms in (self.cpu_ms, self.other_ms)):
            raise ValueError(f"no comparison: {self}")

    @property
    def farthest(self) -> TileParity:
        """The tile with the largest difference of the probability."""
        return farthest(self.tiles)

    @property
    def most_changed(self) -> TileParity:
        """The tile with the largest share of pixels that change class."""
        return most_changed(self.tiles)

    @property
    def saves(self) -> bool:
        """Whether the other engine is clearly faster."""
        return self.cpu_ms - self.other_ms >= max(SAVES_MS, SAVES * self.cpu_ms)

    def beyond(self, budget: Budget) -> str:
        """Say what is not within a budget on the worst tile, as a clause; empty: all tiles are within it."""
        return beyond(self.tiles, budget)


def budget_of(manifest: Manifest, engine: str) -> Budget:
    """Return how far an engine's answers may lie from ONNX Runtime's."""
    if engine == "openvino-bf16":
        return BFLOAT16
    if manifest.certificate is not None:
        return manifest.certificate.budget
    return UNCERTIFIED.get(manifest.precision, UNCERTIFIED_LOWER)


def compared(
    cpu: BatchedEngine, other: BatchedEngine, manifest: Manifest, *, clock: Callable[[], float] = time.perf_counter
) -> Comparison:
    """Let both engines answer the trial tiles, then time them in turns, each with as many tiles a call as in a scene.

    Args:
        cpu: ONNX Runtime.
        other: the other engine.
        manifest: of the model behind both.
        clock: in seconds.

    Raises:
        EngineError: an engine failed, or an answer is no probability.
    """
    parities = compared_on(trial_tiles(manifest), cpu, other, manifest, batch=tiles_a_call(other.max_batch))
    count = most_tiles((cpu, other))
    tiles, engines = np.repeat(probe_tile(manifest), count, axis=0), (as_used(cpu), as_used(other))
    for engine in engines:
        engine(tiles)  # engines put work off to their first call
    start = clock()
    for engine in engines:
        engine(tiles)
    rounds = min(max(int(SPENT_S / max(clock() - start, 1e-9)), ROUNDS[0]), ROUNDS[1])
    cpu_ms, other_ms = (ms / count for ms in in_turns(engines, tiles, rounds=rounds, warm_up=0, clock=clock))
    return Comparison(parities, cpu_ms, other_ms)


def takes_under_ms(engine: Engine, manifest: Manifest, limit_ms: float, *, clock: Callable[[], float]) -> bool:
    """Whether an engine answers a tile in less than `limit_ms`, so that no other can save as much."""
    tile = probe_tile(manifest)
    engine(tile)  # engines put work off to their first call
    start = clock()
    engine(tile)
    return (clock() - start) * 1000.0 < limit_ms
