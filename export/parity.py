"""How far a graph's probabilities lie from PyTorch's: measured as a value, judged apart from that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import ParityError
from kda_edge.manifest import Parity, TileParity
from kda_edge.predict import RANGE_SLACK, Engine

from .tiles import Tile

# Largest difference of the probability, 0..1, that an export may have (issue 2); float32 itself stays near 1e-6.
BUDGET_MAX_ABS: Final = 1e-4
# Figures are stated in these steps, rounded to the unflattering side: below, they would tell how many threads ran.
STEPS_PER_UNIT: Final = 1_000_000
BATCH: Final = 3  # the size at which the graph is tried a second time; the first time each tile goes alone


def measured_parity(
    graph: Engine, reference: Engine, tiles: Sequence[Tile], *, threshold: float, versions: dict[str, str]
) -> Parity:
    """Run both on every tile and return how far they lie apart.

    Each tile goes through the graph alone, and the first three a second time as one batch; a tile's figures are those
    of its worse run.

    Args:
        graph: what was exported, as the runtime runs it.
        reference: what it was exported from.
        tiles: at least one.
        threshold: probability from which a pixel counts as landslide, 0..1.
        versions: of the packages that take part, for the record.

    Raises:
        ParityError: an answer of the wrong shape, not finite or outside 0..1.
    """
    batch = np.stack([tile.pixels for tile in tiles[:BATCH]])
    batched = _answer(graph, batch, "a batch of tiles")
    rows = []
    for index, tile in enumerate(tiles):
        pixels = tile.pixels[None]
        expected = _answer(reference, pixels, f"tile {tile.name!r} in PyTorch")
        answers = [_answer(graph, pixels, f"tile {tile.name!r}")]
        if index < len(batched):
            answers.append(batched[index : index + 1])
        rows.append(_tile_parity(tile, expected, answers, threshold))
    return Parity(budget_max_abs=BUDGET_MAX_ABS, tiles=tuple(rows), versions=versions)


def require_parity(parity: Parity) -> None:
    """Raise `ParityError`, naming the worst tile, unless every tile is within the budget."""
    if not parity.holds:
        worst = worst_tile(parity)
        raise ParityError(
            f"the graph differs from PyTorch by {worst.max_abs:g} of probability on the tile {worst.tile!r}, more than "
            f"{parity.budget_max_abs:g}; nothing was written: try other versions of torch and onnxruntime"
        )


def worst_tile(parity: Parity) -> TileParity:
    """Return the tile with the largest difference."""
    return max(parity.tiles, key=lambda tile: tile.max_abs)


def _answer(run: Engine, pixels: NDArray[np.float32], what: str) -> NDArray[np.float64]:
    answer = np.asarray(run(pixels))
    expected_shape = (pixels.shape[0], 1, *pixels.shape[2:])
    if answer.shape != expected_shape:
        raise ParityError(f"{what} gives the shape {answer.shape}, not {expected_shape}; nothing was written")
    if not (answer.min() >= -RANGE_SLACK and answer.max() <= 1.0 + RANGE_SLACK):  # nor where any pixel is NaN
        raise ParityError(f"{what} gives values that are no probability; nothing was written: check the checkpoint")
    return answer.astype(np.float64)


def _tile_parity(
    tile: Tile, expected: NDArray[np.float64], answers: Sequence[NDArray[np.float64]], threshold: float
) -> TileParity:
    distances = [np.abs(answer - expected) for answer in answers]
    agreements = [np.mean((answer >= threshold) == (expected >= threshold)) for answer in answers]
    return TileParity(
        tile=tile.name,
        sha256=tile.sha256,
        max_abs=_stated(max(float(distance.max()) for distance in distances)),
        mean_abs=_stated(max(float(distance.mean()) for distance in distances)),
        agreement=1.0 - _stated(1.0 - float(min(agreements))),
    )


def _stated(difference: float) -> float:
    """Round up to a whole number of steps."""
    return math.ceil(round(difference * STEPS_PER_UNIT, 6)) / STEPS_PER_UNIT
