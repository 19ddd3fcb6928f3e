"""Tiles of real imagery to verify on, read and filled as the runtime does it before its engine sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.paths import is_dir, is_file
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.mapping.value_range import ValueMap
from kda_edge.runtime.scenes.scene import Scene, open_scene
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile
from kda_edge.tiling.tile_grid import TileGrid

TILES_MAX: Final = 8  # of one --tiles path: as many again as are generated, so that verifying stays about as long
EXAMPLE_TILES_MAX: Final = 2
EXAMPLE: Final = "bundled/example_scene.tif"  # in the source tree; wheels leave it out
RASTER_SUFFIXES: Final = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".webp", ".jp2", ".vrt", ".img"})

_T = TypeVar("_T")


def imagery_tiles(path: Path, contract: InputContract, tile_px: int) -> list[Tile]:
    """Return tiles of a raster, spread over it, or one tile of each of some rasters, spread over a folder.

    Args:
        path: a raster, or a folder of rasters (not their masks).
        contract: what the rasters must hold.
        tile_px: side of the tiles.

    Raises:
        SceneError: missing, no raster, of other pixels than the contract's, or without any data.
    """
    if is_dir(path):
        files = rasters_of(path)
        tiles = [tile for file in _spread(files, TILES_MAX) for tile in _scene_tiles(file, contract, tile_px, 1)]
    else:
        tiles = _scene_tiles(path, contract, tile_px, TILES_MAX)
    if not tiles:
        raise SceneError(f"{path} has no valid pixel where it was looked at; give imagery with data")
    return tiles


def rasters_of(path: Path) -> list[Path]:
    """Return the rasters of a folder by name, or `path` itself if it is no folder.

    Raises:
        SceneError: a folder without a raster.
    """
    if not is_dir(path):
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in RASTER_SUFFIXES and is_file(file))
    if not files:
        raise SceneError(f"{path} holds no imagery; give an image, a scene or a folder of them")
    return files


def corners_of(path: Path, contract: InputContract, tile_px: int) -> list[tuple[int, int]]:
    """Return row and column of each tile of a raster, in reading order; no pixel is read.

    Raises:
        SceneError: missing, no raster, or of other pixels than the contract's.
    """
    with gdal_session(), open_scene(path, contract, any_gsd=True) as scene:
        return list(TileGrid(scene.height_px, scene.width_px, tile_px))


def tile_at(path: Path, corner: tuple[int, int], contract: InputContract, tile_px: int) -> Tile | None:
    """Return the tile of a raster at (row, column) as the engine would be given it; None where it has no data.

    Raises:
        SceneError: missing, no raster, damaged there, or of other pixels than the contract's.
    """
    with gdal_session(), open_scene(path, contract, any_gsd=True) as scene:
        return next(_cut(scene, [corner], contract, tile_px), None)


def example_tiles(contract: InputContract, tile_px: int) -> list[Tile]:
    """Return tiles of the example scene; none where it is not at hand or is of other pixels than the contract's."""
    with resources.as_file(resources.files("kda_edge.runtime").joinpath(EXAMPLE)) as path:
        if not is_file(path):
            return []
        with contextlib.suppress(SceneError):  # a model for 16-bit imagery, say
            return _scene_tiles(path, contract, tile_px, EXAMPLE_TILES_MAX)
    return []


def _scene_tiles(path: Path, contract: InputContract, tile_px: int, most: int) -> list[Tile]:
    with gdal_session(), open_scene(path, contract, any_gsd=True) as scene:
        corners = list(TileGrid(scene.height_px, scene.width_px, tile_px))
        return list(_cut(scene, _spread(corners, most), contract, tile_px))


def _cut(scene: Scene, corners: Sequence[tuple[int, int]], contract: InputContract, tile_px: int) -> Iterator[Tile]:
    in_range = ValueMap(None, contract.value_range)
    for row, col in corners:
        end_row, end_col = min(row + tile_px, scene.height_px), min(col + tile_px, scene.width_px)
        image, valid = read_undamaged(scene, row, end_row, col, end_col)
        if valid.any():
            whole = pad_to_tile(fill_nodata(image, valid), tile_px).transpose(2, 0, 1)
            pixels = in_range(np.ascontiguousarray(whole, dtype=np.float32))
            yield Tile(f"{scene.path.name}, row {row}, column {col}", pixels)


def read_undamaged(scene: Scene, row0: int, row1: int, col0: int, col1: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the pixels of a window, (H, W, 3), and where they are valid, (H, W).

    Raises:
        SceneError: the file can't give every one of them.
    """
    image, valid, lost = scene.read(row0, row1, col0, col1)
    if lost is not None and lost.any():
        raise SceneError(f"{scene.path} is damaged in rows {row0} to {row1 - 1}; copy it again from its source")
    return image, valid


def _spread(items: Sequence[_T], most: int) -> list[_T]:
    """Return at most `most` of the items, evenly spaced, from the middle of equal parts."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]
