"""Parity with PyTorch: how far a graph's probabilities lie from it on tiles; values, judged elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.certificate import TileParity
from kda_edge.errors import ParityError
from kda_edge.progress.callbacks import Progress, counted, silent
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.tile_answers import RANGE_SLACK, Engine

# Figures are stated in these steps, rounded to the unflattering side: below, they would tell how many threads ran.
STEPS_PER_UNIT: Final = 1_000_000
BATCH: Final = 3  # the size at which the graph is tried a second time; the first time each tile goes alone


class Reference:
    """PyTorch's answers to some tiles, each computed once.

    Attributes:
        engine: that answers.
        tiles: at least one.
    """

    def __init__(self, engine: Engine, tiles: Sequence[Tile]) -> None:
        self.engine = engine
        self.tiles = tuple(tiles)
        self._answers: dict[str, NDArray[np.float64]] = {}

    def on(self, tiles: Sequence[Tile]) -> Reference:
        """Return the reference for some of its tiles; answers are shared."""
        part = Reference(self.engine, tiles)
        part._answers = self._answers
        return part

    def answer(self, tile: Tile) -> NDArray[np.float64]:
        """Return the probability of a tile, (1, 1, T, T).

        Raises:
            ParityError: of the wrong shape, not finite or outside 0..1.
        """
        if tile.name not in self._answers:
            self._answers[tile.name] = answer_of(self.engine, tile.pixels[None], f"tile {tile.name!r} in PyTorch")
        return self._answers[tile.name]


def measured_parity(
    graph: Engine, reference: Reference, *, threshold: float, progress: Progress = silent
) -> tuple[TileParity, ...]:
    """Run a graph on every tile and return how far it lies from the reference.

    Each tile goes through the graph alone, and the first three a second time as one batch; a tile's figures are those
    of its worse run.

    Args:
        graph: what was exported, as the runtime runs it.
        reference: what it was exported from, and the tiles.
        threshold: probability from which a pixel counts as landslide, 0..1.
        progress: told of the tiles that are done.

    Raises:
        ParityError: an answer of the wrong shape, not finite or outside 0..1.
    """
    tiles = reference.tiles
    batched = answer_of(graph, np.stack([tile.pixels for tile in tiles[:BATCH]]), "a batch of tiles")
    rows = []
    for index, tile in enumerate(counted(tiles, "comparing with PyTorch, tiles", progress)):
        answers = [answer_of(graph, tile.pixels[None], f"tile {tile.name!r}")]
        if index < len(batched):
            answers.append(batched[index : index + 1])
        rows.append(_tile_parity(tile, reference.answer(tile), answers, threshold))
    return tuple(rows)


def worst_tile(tiles: Sequence[TileParity]) -> TileParity:
    """Return the tile with the largest difference."""
    return max(tiles, key=lambda tile: tile.max_abs)


def answer_of(run: Engine, pixels: NDArray[np.float32], what: str) -> NDArray[np.float64]:
    """Return an engine's probability of tiles (N, 3, T, T), checked.

    Raises:
        ParityError: of the wrong shape, not finite or outside 0..1; `what` is named.
    """
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
