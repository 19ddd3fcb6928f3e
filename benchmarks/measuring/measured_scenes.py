"""Scenes to measure on: some rows of one that takes too long as a whole, and a small one to warm up on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from rasterio.enums import MaskFlags
from rasterio.transform import Affine
from rasterio.windows import Window

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime.geo.gdal import gdal_session, open_raster

WARM_UP_TILES: Final = 4  # along a row: as many as the largest batch that is tried


def some_rows(scene_path: Path, rows: tuple[int, int], out_path: Path) -> Path:
    """Write rows of a scene as a GeoTIFF with the same bands, blocks, nodata, mask and place.

    Args:
        scene_path: of the scene.
        rows: the first row, and one past the last.
        out_path: of the part.

    Raises:
        UsageError: the scene has no such rows.
    """
    row0, row1 = rows
    with gdal_session(), open_raster(scene_path) as scene:
        if not 0 <= row0 < row1 <= scene.height:
            raise UsageError(f"{scene_path} has {scene.height} rows; give --rows FIRST:END within 0:{scene.height}")
        kept = {name: scene.profile[name] for name in ("count", "dtype", "nodata", "width", "tiled", "interleave")}
        if scene.profile["tiled"]:
            kept |= {"blockxsize": scene.profile["blockxsize"], "blockysize": scene.profile["blockysize"]}
        window = Window(0, row0, scene.width, row1 - row0)
        at = scene.transform
        moved = Affine(at.a, at.b, at.b * row0 + at.c, at.d, at.e, at.e * row0 + at.f)
        place = {} if at.is_identity else {"crs": scene.crs, "transform": moved}
        with open_raster(
            out_path, "w", driver="GTiff", height=row1 - row0, compress="deflate", BIGTIFF="IF_SAFER", **kept, **place
        ) as part:
            part.colorinterp = scene.colorinterp
            part.write(scene.read(window=window))
            if MaskFlags.per_dataset in scene.mask_flag_enums[0] and MaskFlags.alpha not in scene.mask_flag_enums[0]:
                part.write_mask(scene.read_masks(1, window=window))
    return out_path


def warm_up_scene(manifest: Manifest, bands: tuple[int, int, int], out_path: Path) -> Path:
    """Write a row of tiles of noise that a model takes, so that nothing is loaded or compiled while the clock runs.

    Args:
        manifest: of the model.
        bands: 1-based numbers of the bands that it will be given.
        out_path: of the scene.
    """
    low, high = manifest.input.value_range
    tile_px = manifest.tile_px
    shape = (max(bands), tile_px, WARM_UP_TILES * tile_px)
    pixels = np.random.default_rng(0).uniform(max(low, 1.0), high, shape).astype(manifest.input.pixel_type)
    with open_raster(
        out_path, "w", driver="GTiff", height=shape[1], width=shape[2], count=shape[0], dtype=pixels.dtype
    ) as scene:
        scene.write(pixels)
    return out_path
