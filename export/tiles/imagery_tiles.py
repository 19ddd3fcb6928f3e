"""Tiles of real imagery to verify on, read and filled as the runtime does it before its engine sees them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.paths import is_dir, is_file
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.mapping.scene_tiles import cut_tiles, spread_over
from kda_edge.runtime.parity.example_scene import example_scene
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.certificate_tiles import Tile
from kda_edge.tiling.tile_grid import TileGrid

TILES_MAX: Final = 8  # of one --tiles path: as many again as are generated, so that verifying stays about as long
EXAMPLE_TILES_MAX: Final = 2
RASTER_SUFFIXES: Final = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".webp", ".jp2", ".vrt", ".img"})


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
        tiles = [tile for file in spread_over(files, TILES_MAX) for tile in _scene_tiles(file, contract, tile_px, 1)]
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
        return next(cut_tiles(scene, [corner], tile_px), None)


def example_tiles(contract: InputContract, tile_px: int) -> list[Tile]:
    """Return tiles of the example scene; none where it is not at hand or is of other pixels than the contract's."""
    with example_scene() as path, contextlib.suppress(SceneError):  # a model for 16-bit imagery, say
        return [] if path is None else _scene_tiles(path, contract, tile_px, EXAMPLE_TILES_MAX)
    return []


def _scene_tiles(path: Path, contract: InputContract, tile_px: int, most: int) -> list[Tile]:
    with gdal_session(), open_scene(path, contract, any_gsd=True) as scene:
        corners = list(TileGrid(scene.height_px, scene.width_px, tile_px))
        return list(cut_tiles(scene, spread_over(corners, most), tile_px))
