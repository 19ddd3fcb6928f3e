"""How far an engine's answers lie from another's, tile by tile, on the tiles that certificates are made with.

Certificates hold for the engine that they were made with, ONNX Runtime on a CPU. Before another engine maps anything
with a model, both answer the same tiles. One tile is not enough: an engine that is right on smooth ground may be wrong
where half of a tile is without data, and in another batch than alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kda_edge.certificate import POINT, Budget, TileParity, share
from kda_edge.errors import NoAnswer
from kda_edge.manifest import Manifest
from kda_edge.tiling.certificate_tiles import Tile, generated_tiles
from kda_edge.tiling.tile_answers import Answer, Engine, answers_of


def trial_tiles(manifest: Manifest) -> list[Tile]:
    """Return the tiles that an engine is tried on: those of every certificate of such a model, and one more kind.

    Tiles that an export cut from imagery are not among them: an installation need not have any.
    """
    return [*generated_tiles(manifest.input, manifest.tile_px), Tile("waves and noise", probe_tile(manifest)[0])]


def probe_tile(manifest: Manifest) -> NDArray[np.float32]:
    """Return a tile (1, 3, T, T) over the model's range of values: waves on the left half, noise on the right."""
    low, high = manifest.input.value_range
    row, col = np.mgrid[: manifest.tile_px, : manifest.tile_px] / manifest.tile_px
    waves = np.stack([np.sin(2 * np.pi * (k * row + (4 - k) * col + k / 3)) for k in (1, 2, 3)]) / 2 + 0.5
    share = np.where(col < 0.5, waves, np.random.default_rng(0).random(waves.shape))
    return (low + (high - low) * share)[None].astype(np.float32)


def compared_on(
    tiles: Sequence[Tile], reference: Engine, other: Engine, manifest: Manifest, *, batch: int = 1
) -> tuple[TileParity, ...]:
    """Let two engines of a model answer the same tiles, and return how far apart they lie on each.

    Args:
        tiles: of the model's size.
        reference: the engine that is believed; it is given one tile a call.
        other: the engine that is tried.
        manifest: of the model behind both.
        batch: tiles a call of the other, as many as in a scene.

    Raises:
        NoAnswer: an engine has no answer to a tile, or one that is no probability.
    """
    found = []
    for first in range(0, len(tiles), batch):
        some = tiles[first : first + batch]
        pixels = np.stack([tile.pixels for tile in some])
        expected = [answer for one in pixels for answer in answers_of(reference, one[None])]
        for tile, right, answer in zip(some, expected, answers_of(other, pixels), strict=True):
            found.append(_parity(tile, _probability(tile, right), _probability(tile, answer), manifest.threshold))
    return tuple(found)


def farthest(tiles: Sequence[TileParity]) -> TileParity:
    """Return the tile with the largest difference of the probability."""
    return max(tiles, key=lambda tile: tile.max_abs)


def most_changed(tiles: Sequence[TileParity]) -> TileParity:
    """Return the tile with the largest share of pixels that change class."""
    return min(tiles, key=lambda tile: tile.agreement)


def beyond(tiles: Sequence[TileParity], budget: Budget) -> str:
    """Say what is not within a budget on the worst tile, as a clause; empty: all tiles are within it."""
    far, changed = farthest(tiles), most_changed(tiles)
    if budget.max_abs is not None and far.max_abs > budget.max_abs:
        return f"on the tile {far.tile!r} the probability differs by {far.max_abs:.2g}, {budget.max_abs:g} is allowed"
    if budget.iou_points is not None and 1.0 - changed.agreement > budget.iou_points * POINT:
        return (
            f"on the tile {changed.tile!r} {1.0 - changed.agreement:.2%} of the pixels change class, "
            f"{budget.iou_points:g}% are allowed"
        )
    return ""


def used(tiles: Sequence[TileParity], budget: Budget) -> float:
    """Return the largest share of a limit that is used on any tile, 0..inf; above 1 the worst tile is beyond it."""
    shares = [0.0]
    if budget.max_abs is not None:
        shares.append(share(farthest(tiles).max_abs, budget.max_abs))
    if budget.iou_points is not None:
        shares.append(share(1.0 - most_changed(tiles).agreement, budget.iou_points * POINT))
    return max(shares)


def _probability(tile: Tile, answer: Answer) -> NDArray[np.float32]:
    if isinstance(answer, str):
        raise NoAnswer(tile.name, answer)
    return answer


def _parity(
    tile: Tile, expected: NDArray[np.float32], answer: NDArray[np.float32], threshold_probability: float
) -> TileParity:
    threshold = np.float32(threshold_probability)  # as a map compares
    distance = np.abs(answer.astype(np.float64) - expected)
    return TileParity(
        tile=tile.name,
        sha256=tile.sha256,
        max_abs=float(distance.max()),
        mean_abs=float(distance.mean()),
        agreement=float(np.mean((answer >= threshold) == (expected >= threshold))),
    )
