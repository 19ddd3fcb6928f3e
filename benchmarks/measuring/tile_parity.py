"""Parity on the certificate's tiles: how far answers on a device lie from those on the processor, and what is allowed.

The tiles are those that the runtime tries an engine on (`kda_edge.runtime.engines.tile_comparison`), made anew from
their seeds. Each is answered alone and among others, since kernels differ by batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.certificate import Budget, Certificate, TileParity
from kda_edge.errors import EngineError
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.tile_comparison import compared_on
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.tile_answers import Engine

# For what has no certificate: those of kda-export without options, by the precision that computes.
BUDGETS: Final[Mapping[str, Budget]] = {
    "fp32": Budget(max_abs=1e-4),
    "fp16": Budget(iou_points=0.1),
    "bf16": Budget(iou_points=0.1),
}
BATCHES: Final = (1, 4)  # tiles a call that answers are compared in; a choice


def budget_of(manifest: Manifest) -> Budget:
    """Return what an artifact's answers are held to on every engine: what its certificate allows."""
    assert manifest.certificate is not None  # others are not opened without being asked to
    return manifest.certificate.budget


def require_digests(tiles: Sequence[Tile], certificate: Certificate | None) -> int:
    """Return how many tiles the certificate names too; their pixels are the same.

    Raises:
        EngineError: a tile of the same name has other pixels.
    """
    known = {} if certificate is None else {tile.tile: tile.sha256 for tile in certificate.tiles}
    shared = [tile for tile in tiles if tile.name in known]
    for tile in shared:
        if tile.sha256 != known[tile.name]:
            raise EngineError(f"tile {tile.name!r} is not the certificate's: its pixels differ; export the model again")
    return len(shared)


def parities(
    tiles: Sequence[Tile],
    reference: Engine,
    other: Engine,
    manifest: Manifest,
    *,
    batches: Sequence[int] = BATCHES,
) -> tuple[TileParity, ...]:
    """Return how far an engine's answers lie from a reference's, each tile once for each batch.

    Args:
        tiles: of the model's size.
        reference: the engine that is believed; it answers each tile once.
        other: the engine that is tried.
        manifest: of the model behind both.
        batches: tiles a call of the other.

    Raises:
        EngineError: an engine has no answer to a tile, or one that is no probability.
    """
    believed = reference if isinstance(reference, Remembered) else Remembered(reference)
    found = list[TileParity]()
    for batch in batches:
        rows = compared_on(tiles, believed, other, manifest, batch=batch)
        among = "" if batch == 1 else f", among {batch}"
        found += [dataclasses.replace(row, tile=f"{row.tile}{among}") for row in rows]
    return tuple(found)


class Remembered:
    """An engine that computes what it has answered before only once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answers: dict[bytes, NDArray[np.float32]] = {}

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answer to tiles (N, 3, T, T), (N, 1, T, T), kept."""
        key = tiles.tobytes()
        if key not in self._answers:
            self._answers[key] = self._engine(tiles).copy()  # an engine may use its output again
        return self._answers[key]
