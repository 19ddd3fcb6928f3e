"""Device parity: how far a GPU engine's answers lie from ONNX Runtime's on the CPU of the same machine, and its budget.

Both are given the same network in the same precision. What may lie between them is what the model's certificate allows;
where that limits classes alone (FP16, INT8), the probability is limited too, or an engine that answers nothing but
background would pass on all tiles without a landslide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.certificate import Budget, TileParity
from kda_edge.manifest import Manifest
from kda_edge.tiling.tile_answers import Engine, tiles_a_call

from ..engines.cpu_choice import budget_of
from ..engines.model_engine import BatchedEngine
from ..engines.tile_comparison import beyond, compared_on, trial_tiles, used
from .depends_on import against_cpu
from .example_scene import example_scene_tiles

# Both are choices that no device has been held to yet.
MAX_ABS: Final = 0.05  # least limit where the certificate has none
LEAST_MAX_ABS: Final = 1e-4  # of a model that answers nearly the same everywhere; what FP32 is held to


@dataclass(frozen=True)
class DeviceParity:
    """What was measured of an engine on this device.

    Attributes:
        engine: that was tried, one of `GPU_ENGINES`.
        against: what it was compared with, and on which processor.
        sampling: form of the graph that it runs, `gridsample` or `gather`.
        batch: tiles a call, as in a scene.
        budget: what was allowed on each tile.
        tiles: how far it lay from the CPU on each tile, one or more.
        depends_on: all that the figures depend on, by name: graph, device, driver, versions. They hold for no other.
    """

    engine: str
    against: str
    sampling: str
    batch: int
    budget: Budget
    tiles: tuple[TileParity, ...]
    depends_on: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tiles or self.batch < 1 or self.sampling not in ("gridsample", "gather"):
            raise ValueError(f"no parity: {self}")

    @property
    def against_it(self) -> str:
        """What speaks against the engine, as a clause that names the worst tile; empty: it is within its budget."""
        return beyond(self.tiles, self.budget)

    @property
    def used(self) -> float:
        """The largest share of a limit that is used on any tile, 0..inf; above 1 the engine is refused."""
        return used(self.tiles, self.budget)

    def to_json(self) -> str:
        """Return it as JSON in one line, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)


def parity_with_cpu(
    cpu: Engine,
    other: BatchedEngine,
    manifest: Manifest,
    *,
    engine: str,
    sampling: str,
    depends_on: Mapping[str, str],
) -> DeviceParity:
    """Let an engine answer the certificate's tiles and the example scene's, in batches as a scene's.

    Args:
        cpu: ONNX Runtime on the CPU with the graph as it was certified; it is given one tile a call.
        other: the engine that is tried.
        manifest: of the model behind both.
        engine: name of the one that is tried.
        sampling: form of the graph that it runs.
        depends_on: all that its answers depend on, by name.

    Raises:
        NoAnswer: one of them has no answer to a tile, or one that is no probability.
    """
    seen = _Seen(cpu)
    batch = tiles_a_call(other.max_batch)
    tiles = compared_on([*trial_tiles(manifest), *example_scene_tiles(manifest)], seen, other, manifest, batch=batch)
    budget = device_budget(manifest, seen.spread)
    return DeviceParity(engine, against_cpu(), sampling, batch, budget, tiles, dict(depends_on))


def device_budget(manifest: Manifest, spread: float) -> Budget:
    """Return how far an engine's answers to a tile may lie from the CPU's.

    The certificate's own limits hold on each tile. Where it does not limit the probability, twice what it measured is
    allowed, since that far apart lie at most two engines of which each is as near to the checkpoint, and `MAX_ABS` in
    any case. No limit is above a quarter of the spread: an engine that answers the same everywhere is off by half of
    it, and so is refused.

    Args:
        manifest: of the model.
        spread: largest less smallest probability of the CPU over all tiles, 0..1.
    """
    certificate, budget = manifest.certificate, budget_of(manifest, "")
    max_abs = budget.max_abs
    if max_abs is None:
        measured = certificate.max_abs if certificate is not None and certificate.tiles else 0.0
        max_abs = min(max(MAX_ABS, 2.0 * measured), 1.0)
    return Budget(max_abs=min(max_abs, max(spread / 4.0, LEAST_MAX_ABS)), iou_points=budget.iou_points)


class _Seen:
    """An engine, and the range of its answers so far."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._low, self._high = engine, np.inf, -np.inf

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = self._engine(tiles)
        self._low, self._high = min(self._low, float(answer.min())), max(self._high, float(answer.max()))
        return answer

    @property
    def spread(self) -> float:
        return float(np.clip(self._high - self._low, 0.0, 1.0))
