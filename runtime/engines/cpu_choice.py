"""OpenVINO or ONNX Runtime: whether they agree on this machine and which is faster, found out once and kept.

Certificates are made with ONNX Runtime. Before OpenVINO maps anything with a model, both answer a tile, and what lies
between them must be within what the certificate allows. Which of them is faster depends on processor, cores and graph,
so that they are timed in turns. A record that can't be kept costs that time at each start, nothing else.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.certificate import POINT, Budget
from kda_edge.errors import EngineError
from kda_edge.manifest import Manifest
from kda_edge.tiling.tile_answers import Engine

from .in_turns import as_used, in_turns, most_tiles
from .model_engine import BatchedEngine

BFLOAT16: Final = Budget(max_abs=0.05, iou_points=0.5)  # bundled student, example scene: 0.012 and 0.2% were the most
UNCERTIFIED: Final = {"fp32": Budget(max_abs=1e-4)}  # what `kda-export` allows unless told otherwise
UNCERTIFIED_LOWER: Final = Budget(iou_points=0.5)
SAVES: Final = 0.10  # share of ONNX Runtime's time; between equals it stays, as the certificate was made with it
SAVES_MS: Final = 1.0  # a tile; less is within the noise of so few runs
SPENT_S: Final = 1.0  # about, on timing
ROUNDS: Final = (3, 9)  # fewest and most, of each

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """An engine against ONNX Runtime on one tile.

    Attributes:
        max_abs: largest difference of the probability, 0..1.
        changed: share of the pixels that change class, 0..1.
        cpu_ms: median of ONNX Runtime, a tile.
        other_ms: median of the other engine.
    """

    max_abs: float
    changed: float
    cpu_ms: float
    other_ms: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and value >= 0 for value in asdict(self).values()):
            raise ValueError(f"no comparison: {self}")

    @property
    def saves(self) -> bool:
        """Whether the other engine is clearly faster."""
        return self.cpu_ms - self.other_ms >= max(SAVES_MS, SAVES * self.cpu_ms)

    def beyond(self, budget: Budget) -> str:
        """Say what is not within a budget, as a clause; empty: all is."""
        if budget.max_abs is not None and self.max_abs > budget.max_abs:
            return f"the probability differs by {self.max_abs:.2g}, {budget.max_abs:g} is allowed"
        if budget.iou_points is not None and self.changed > budget.iou_points * POINT:
            return f"{self.changed:.2%} of the pixels change class, {budget.iou_points:g}% are allowed"
        return ""


def budget_of(manifest: Manifest, engine: str) -> Budget:
    """Return how far an engine's answers may lie from ONNX Runtime's."""
    if engine == "openvino-bf16":
        return BFLOAT16
    if manifest.certificate is not None:
        return manifest.certificate.budget
    return UNCERTIFIED.get(manifest.precision, UNCERTIFIED_LOWER)


def probe_tile(manifest: Manifest) -> NDArray[np.float32]:
    """Return a tile (1, 3, T, T) over the model's range of values: waves on the left half, noise on the right."""
    low, high = manifest.input.value_range
    row, col = np.mgrid[: manifest.tile_px, : manifest.tile_px] / manifest.tile_px
    waves = np.stack([np.sin(2 * np.pi * (k * row + (4 - k) * col + k / 3)) for k in (1, 2, 3)]) / 2 + 0.5
    share = np.where(col < 0.5, waves, np.random.default_rng(0).random(waves.shape))
    return (low + (high - low) * share)[None].astype(np.float32)


def compared(
    cpu: BatchedEngine, other: BatchedEngine, manifest: Manifest, *, clock: Callable[[], float] = time.perf_counter
) -> Comparison:
    """Let both engines answer the probe tile, then time them in turns, each with as many tiles a call as in a scene.

    Args:
        cpu: ONNX Runtime.
        other: the other engine.
        manifest: of the model behind both.
        clock: in seconds.

    Raises:
        EngineError: an engine failed, or an answer is not finite.
    """
    tile = probe_tile(manifest)
    count = most_tiles((cpu, other))
    tiles, engines = np.repeat(tile, count, axis=0), (as_used(cpu), as_used(other))
    for engine in engines:
        engine(tiles)  # engines put work off to their first call
    start = clock()
    expected, found = (engine(tiles)[:1] for engine in engines)
    rounds = min(max(int(SPENT_S / max(clock() - start, 1e-9)), ROUNDS[0]), ROUNDS[1])
    if not np.isfinite(found).all():
        raise EngineError("the engine's answers are not finite")
    threshold = np.float32(manifest.threshold)
    cpu_ms, other_ms = (ms / count for ms in in_turns(engines, tiles, rounds=rounds, warm_up=0, clock=clock))
    return Comparison(
        max_abs=float(np.abs(found.astype(np.float64) - expected).max()),
        changed=float(np.mean((found >= threshold) != (expected >= threshold))),
        cpu_ms=cpu_ms,
        other_ms=other_ms,
    )


def takes_under_ms(engine: Engine, manifest: Manifest, limit_ms: float, *, clock: Callable[[], float]) -> bool:
    """Whether an engine answers a tile in less than `limit_ms`, so that no other can save as much."""
    tile = probe_tile(manifest)
    engine(tile)  # engines put work off to their first call
    start = clock()
    engine(tile)
    return (clock() - start) * 1000.0 < limit_ms
