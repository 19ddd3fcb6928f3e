"""A generated scene: relief from a seed with the size and statistics of a drone orthomosaic, where none is at hand.

What it shows means nothing. Its share of pixels without data, their place (outside of a flown area with a ragged
border) and how well it compresses are like those of an orthomosaic, so that a run over it does the same work.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from kda_edge.runtime.geo.gdal import gdal_session, open_raster

HEIGHT_PX: Final = 5120
WIDTH_PX: Final = 6144
NODATA_SHARE: Final = 0.25
GSD_M: Final = 0.05
BLOCK_PX: Final = 512
CELLS_PX: Final = (512, 128, 32, 8)
MEANS: Final = (118.0, 122.0, 96.0)  # of vegetated slopes with bare ground in a drone's camera; a choice
PLACE: Final = MappingProxyType({"crs": "EPSG:32648", "transform": Affine(GSD_M, 0.0, 5e5, 0.0, -GSD_M, 3.5e6)})
GRAIN: Final = 6.0  # of neighbouring pixels, in steps of 8 bits; a choice


def write_scene(path: Path, *, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX, seed: int = 0) -> Path:
    """Write a tiled GeoTIFF of three 8-bit bands, 0 where it has no data.

    Args:
        path: of the scene.
        width_px: columns.
        height_px: rows.
        seed: the same gives the same pixels.
    """
    rng = np.random.default_rng(seed)
    relief = fractal(rng, height_px, width_px)
    valid = _flown(rng, height_px, width_px)
    profile = {"driver": "GTiff", "height": height_px, "width": width_px, "count": 3, "dtype": "uint8", "nodata": 0}
    tiled = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "compress": "deflate", "predictor": 2}
    with gdal_session(), open_raster(path, "w", **profile, **tiled, **PLACE) as scene:
        scene.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        for band, mean in enumerate(MEANS, start=1):
            grain = rng.standard_normal((height_px, width_px), np.float32) * GRAIN
            pixels = np.clip(mean * (0.4 + 1.2 * relief) + grain, 1, 255).astype(np.uint8)
            scene.write(np.where(valid, pixels, np.uint8(0)), band)
    return path


def write_labelled_scene(root: Path, *, side_px: int, seed: int = 0) -> Path:
    """Write `images/scene.tif` and `masks/scene.tif` (1: landslide, the highest tenth), to train on; return `root`."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    write_scene(root / "images" / "scene.tif", width_px=side_px, height_px=side_px, seed=seed)
    relief = fractal(np.random.default_rng(seed), side_px, side_px)
    mask = (relief > np.quantile(relief, 0.9)).astype(np.uint8)
    profile = {"driver": "GTiff", "height": side_px, "width": side_px, "count": 1, "dtype": "uint8"}
    with gdal_session(), open_raster(root / "masks" / "scene.tif", "w", compress="deflate", **profile, **PLACE) as out:
        out.write(mask, 1)
    return root


def fractal(rng: np.random.Generator, height_px: int, width_px: int) -> NDArray[np.float32]:
    """Return noise of several scales, (H, W), 0..1: each finer one half as strong as the one before."""
    total = np.zeros((height_px, width_px), np.float32)
    for octave, cell_px in enumerate(CELLS_PX):
        knots = rng.random((height_px // cell_px + 2, width_px // cell_px + 2), np.float32)
        total += np.float32(0.5**octave) * _stretched(knots, height_px, width_px, cell_px)
    low, high = float(total.min()), float(total.max())
    shares: NDArray[np.float32] = (total - np.float32(low)) / np.float32(high - low)
    return shares


def _stretched(knots: NDArray[np.float32], height_px: int, width_px: int, cell_px: int) -> NDArray[np.float32]:
    """Interpolate knots bilinearly, first along rows, then along columns."""
    for axis, length in ((0, height_px), (1, width_px)):
        at = np.arange(length, dtype=np.float32) / cell_px
        first = at.astype(np.int64)
        share = (at - first)[:, None] if axis == 0 else (at - first)[None]
        knots = (knots.take(first, axis) * (1 - share) + knots.take(first + 1, axis) * share).astype(np.float32)
    return knots


def _flown(rng: np.random.Generator, height_px: int, width_px: int) -> NDArray[np.bool_]:
    """Return where there is data: within a ragged border left and right that leaves `NODATA_SHARE` out."""
    knots = rng.uniform(0.5, 1.5, (2, height_px // 256 + 2))
    rows = np.arange(height_px) / 256
    borders = np.stack([np.interp(rows, np.arange(side.size), side) for side in knots])
    borders *= NODATA_SHARE * width_px * height_px / borders.sum()
    cols = np.arange(width_px)[None]
    inside: NDArray[np.bool_] = (cols >= borders[0][:, None]) & (cols < width_px - borders[1][:, None])
    return inside
