"""Tiles to measure the ranges of an INT8 graph on, drawn so that every kind of ground has its share.

Ranges that were measured on one kind of imagery clip another, and landslides are rare: a plain sample of a region may
hold none. So candidates are sampled, the float student is asked about each, and tiles are drawn from four strata:

- **landslide**: `LANDSLIDE_SHARE` of the pixels or more are landslide by the student's own answer; no masks needed;
- **background**: the others;
- **dark**, **bright**: the quarter of the candidates with the lowest and the highest mean, whatever they show.

The strata take turns, each a tile that no other has, until there are enough; one that is used up is passed over. So
their shares differ by one at most, and what one can't give the others do. Dark and bright take tiles of the commoner of
the two classes first, lest they use up the rarer one.

Only figures are kept of a candidate: the tiles that are drawn are read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np

from kda_edge.certificate import STRATA
from kda_edge.errors import SceneError, quantity
from kda_edge.manifest import InputContract
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.tile_answers import Engine

from ..config import CALIBRATION_TILES_MIN
from .imagery_tiles import corners_of, rasters_of, tile_at

# Of each tile asked for: so many candidates does the student answer for, and so many windows are read to find them
# where a scene is mostly without data. Both bound the time.
CANDIDATES_PER_TILE: Final = 4
WINDOWS_PER_TILE: Final = 16
LANDSLIDE_SHARE: Final = 0.01  # of a tile's pixels: 655 of 256 px, more than speckle
QUARTER: Final = 4  # dark and bright are a quarter of the candidates each


@dataclass(frozen=True)
class Drawn:
    """Tiles, and how many each stratum gave.

    Attributes:
        tiles: each once, in the order in which they were drawn.
        counts: by stratum, all of `kda_edge.certificate.STRATA`.
    """

    tiles: tuple[Tile, ...]
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Candidate:
    path: Path
    corner: tuple[int, int]
    landslide_share: float
    brightness: float


def calibration_tiles(
    path: Path,
    contract: InputContract,
    tile_px: int,
    *,
    count: int,
    seed: int,
    probability: Engine,
    threshold: float,
) -> Drawn:
    """Draw tiles of a raster or a folder of rasters; the same seed and files give the same tiles.

    Args:
        path: a raster, or a folder of rasters (not their masks).
        contract: what the rasters must hold.
        tile_px: side of the tiles.
        count: how many to draw; fewer are drawn where there are not as many, `CALIBRATION_TILES_MIN` at least.
        seed: of the draw.
        probability: the float student.
        threshold: probability from which a pixel counts as landslide.

    Raises:
        SceneError: missing, no raster, of other pixels than the contract's, or too few tiles.
    """
    random = np.random.default_rng(seed)
    found = []
    for file, corner in _windows(path, contract, tile_px, count * WINDOWS_PER_TILE, random):
        tile = tile_at(file, corner, contract, tile_px)
        if tile is not None:
            is_landslide = probability(tile.pixels[None]) >= threshold
            found.append(
                _Candidate(file, corner, float(is_landslide.mean()), float(tile.pixels.mean(dtype=np.float64)))
            )
        if len(found) == count * CANDIDATES_PER_TILE:
            break
    if len(found) < CALIBRATION_TILES_MIN:
        raise SceneError(
            f"{path} gives {quantity(len(found), 'tile')} of {tile_px} px with data, too few to calibrate on; "
            f"give --calib a scene or a folder of at least {CALIBRATION_TILES_MIN} tiles like those it will map, "
            "64 or more are better"
        )
    drawn = list(_in_turns(_strata(found), count))
    tiles = [tile_at(chosen.path, chosen.corner, contract, tile_px) for _, chosen in drawn]
    counts = {stratum: sum(name == stratum for name, _ in drawn) for stratum in STRATA}
    return Drawn(tuple(tile for tile in tiles if tile is not None), counts)


def _windows(
    path: Path, contract: InputContract, tile_px: int, most: int, random: np.random.Generator
) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Yield at most `most` windows in random order: one of each raster, then a second of each, and so on."""
    files = rasters_of(path)
    files = [files[i] for i in random.permutation(len(files))[:most]]
    lists = []
    for file in files:
        corners = corners_of(file, contract, tile_px)
        lists.append([(file, corners[i]) for i in random.permutation(len(corners))[:most]])
    in_turn = (window for turn in zip_longest(*lists) for window in turn if window is not None)
    for window, _ in zip(in_turn, range(most), strict=False):
        yield window


def _strata(found: Sequence[_Candidate]) -> dict[str, list[_Candidate]]:
    """Return who may be drawn for each stratum, in the order of drawing; everyone is in one or two."""
    landslide = [one for one in found if one.landslide_share >= LANDSLIDE_SHARE]
    background = [one for one in found if one.landslide_share < LANDSLIDE_SHARE]
    rarer = set(landslide if len(landslide) <= len(background) else background)
    by_brightness = sorted(found, key=lambda one: (one.brightness, one.path.name, one.corner))
    quarter = len(found) // QUARTER
    dark, bright = set(by_brightness[:quarter]), set(by_brightness[-quarter:])
    commoner_first = sorted(found, key=lambda one: one in rarer)  # which keeps the order otherwise
    return {
        "landslide": landslide,
        "background": background,
        "dark": [one for one in commoner_first if one in dark],
        "bright": [one for one in commoner_first if one in bright],
    }


def _in_turns(strata: dict[str, list[_Candidate]], count: int) -> Iterator[tuple[str, _Candidate]]:
    taken: set[_Candidate] = set()
    waiting = {stratum: iter(strata[stratum]) for stratum in STRATA}
    while waiting:
        for stratum, candidates in list(waiting.items()):
            chosen = next((one for one in candidates if one not in taken), None)
            if chosen is None:
                del waiting[stratum]
                continue
            taken.add(chosen)
            yield stratum, chosen
            if len(taken) == count:
                return
