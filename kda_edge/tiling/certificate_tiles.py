"""Tiles that an exported graph is put to the test on: like terrain, and hostile.

All are generated from a seed by plain arithmetic, so the same contract and size give the same pixels everywhere. They
are pixels that imagery of the contract can hold: inside its range of values, integers where it has integers (but for
the tile that is the mean).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import InputContract

TERRAIN_SEEDS: Final = (1, 2, 3)
ROUGHNESS: Final = 0.55  # what an octave keeps of the one before: about that of relief seen from the air


@dataclass(frozen=True)
class Tile:
    """Raw pixels with a name.

    Attributes:
        name: what they show.
        pixels: float32, (3, T, T), in the units of the imagery.
    """

    name: str
    pixels: NDArray[np.float32]

    @property
    def sha256(self) -> str:
        """Digest of the pixels as little-endian float32 in C order."""
        return hashlib.sha256(np.ascontiguousarray(self.pixels, dtype="<f4").tobytes()).hexdigest()


def generated_tiles(contract: InputContract, tile_px: int) -> list[Tile]:
    """Return the terrain-like tiles, then the hostile ones; their names are unique."""
    terrain = [(f"generated terrain {seed}", generated_terrain(seed, tile_px)) for seed in TERRAIN_SEEDS]
    hostile = list(_hostile_shares(tile_px, terrain[0][1]))
    tiles = [Tile(name, _in_units(shares, contract)) for name, shares in (*terrain, *hostile)]
    # After normalisation it is zero everywhere.
    mean = np.broadcast_to(np.asarray(contract.mean, np.float32)[:, None, None], (3, tile_px, tile_px))
    return [*tiles, Tile("nothing but the mean", np.ascontiguousarray(mean))]


def generated_terrain(seed: int, side_px: int) -> NDArray[np.float64]:
    """Return seeded relief lit from the north-west, with colours that follow height, (3, side, side), 0..1."""
    random = np.random.default_rng(seed)
    height = _fractal_noise(random, side_px)
    light = np.clip(0.5 + 6.0 * (np.gradient(height, axis=0) + np.gradient(height, axis=1)), 0.0, 1.0)
    bands = []
    for tint in (0.45, 0.5, 0.35):
        cover = _fractal_noise(random, side_px)
        bands.append(tint * (0.35 + 0.65 * light) + 0.3 * cover * height + 0.1 * random.random((side_px, side_px)))
    return np.asarray(np.clip(np.stack(bands), 0.0, 1.0))


def _hostile_shares(tile_px: int, terrain: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    shape = (3, tile_px, tile_px)
    rows, cols = np.indices((tile_px, tile_px))
    random = np.random.default_rng(0)
    yield "all nodata, at the lowest value", np.zeros(shape)
    yield "all saturated", np.ones(shape)
    yield "terrain, mostly saturated", np.clip(terrain * 8.0 - 1.0, 0.0, 1.0)
    yield "terrain, one half nodata", np.where(cols >= tile_px // 2, terrain, 0.0)
    yield "checkerboard of 1 px", np.broadcast_to(((rows + cols) % 2).astype(np.float64), shape)
    yield "bands at opposite ends", np.broadcast_to(np.array([1.0, 0.0, 1.0])[:, None, None], shape)
    yield "white noise", random.random(shape)
    yield "gradient", np.broadcast_to((rows + cols) / (2.0 * max(1, tile_px - 1)), shape)
    yield "near-constant", np.where(random.random(shape) > 0.5, 0.508, 0.5)


def _fractal_noise(random: np.random.Generator, side_px: int) -> NDArray[np.float64]:
    """Noise of several scales, each octave half as coarse as the one before, (side, side), 0..1."""
    total = np.zeros((side_px, side_px))
    weight, cell_px = 1.0, side_px / 2.0
    while cell_px >= 2.0:
        knots = int(np.ceil(side_px / cell_px)) + 1
        total += weight * _stretched(random.random((knots, knots)), side_px, cell_px)
        weight, cell_px = weight * ROUGHNESS, cell_px / 2.0
    low, high = total.min(), total.max()
    return np.asarray((total - low) / (high - low))


def _stretched(knots: NDArray[np.float64], side_px: int, cell_px: float) -> NDArray[np.float64]:
    """Interpolate a grid of knots, bilinearly, to (side, side) pixels of which a cell between knots has `cell_px`."""
    at = np.arange(side_px) / cell_px
    first = np.minimum(at.astype(np.int64), len(knots) - 2)
    share = at - first
    along_rows = knots[first] * (1.0 - share[:, None]) + knots[first + 1] * share[:, None]
    return np.asarray(along_rows[:, first] * (1.0 - share) + along_rows[:, first + 1] * share)


def _in_units(shares: NDArray[np.float64], contract: InputContract) -> NDArray[np.float32]:
    """Turn shares of the range of values, 0..1, into pixels that imagery of the contract can hold."""
    low, high = contract.value_range
    pixels = low + shares * (high - low)
    if contract.pixel_type != "float32":
        pixels = np.clip(np.rint(pixels), np.ceil(low), np.floor(high))
    return np.ascontiguousarray(pixels, dtype=np.float32)
