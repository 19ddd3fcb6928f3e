"""Rows of a map as plain values: which ones, what they hold and what they add up to."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.tiling.tile_stream import TileFailure


@dataclass(frozen=True)
class Rows:
    """Neighbouring rows of a scene.

    Attributes:
        first: of them, from 0 at the scene's top.
        end: one past the last; equal to `first` where there are none.

    Raises:
        UsageError: the end lies before the first, or that above the scene.
    """

    first: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.end:
            raise UsageError(
                f"no scene has rows {self.first} to {self.end - 1}; give the first, then one past the last"
            )

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.end - self.first


@dataclass(frozen=True)
class Counts:
    """Pixels and tiles of some rows; counts of further rows add up with `+`.

    Sums over the rows of a scene are the same however it was cut: a tile counts where its first row lies.

    Attributes:
        valid_px: pixels with data.
        landslide_px: pixels of class 1.
        unknown_px: pixels that could not be read, or have data and no tile that answered.
        tiles: that begin in these rows, those without data included.
        asked_tiles: tiles among them that the engine was given.
        answered_tiles: tiles that it answered. If it answered none of a scene, it does not work.
    """

    valid_px: int = 0
    landslide_px: int = 0
    unknown_px: int = 0
    tiles: int = 0
    asked_tiles: int = 0
    answered_tiles: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class MappedRows:
    """Finished rows of a map, over its whole width.

    Attributes:
        row_px: the first row.
        layers: class, probability and qa, (3, h, W).
        counts: of their pixels and tiles.
        failures: tiles without an answer, because of the engine or of pixels that could not be read; each where its
            first row lies.
        warnings: what the source complained of so far, a sentence each.
    """

    row_px: int
    layers: NDArray[np.uint8]
    counts: Counts
    failures: tuple[TileFailure, ...] = ()
    warnings: tuple[str, ...] = ()
