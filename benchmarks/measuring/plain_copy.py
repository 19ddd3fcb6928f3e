"""The least that a program does to map a scene: read it, and write the finished map's bands, in one thread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from kda_edge.runtime.geo.gdal import gdal_session, open_raster

ROWS_PX: Final = 256  # read and written at once: a row of the map's blocks
WRITING: Final = "GeoTIFF, 3 bands of bytes, DEFLATE as GDAL has it, 256 px blocks, no overviews"


class Cost(NamedTuple):
    """What a piece of work took.

    Attributes:
        wall_s: on the wall clock.
        processor_s: of all cores, in user and system mode.
    """

    wall_s: float
    processor_s: float


def cost_of_copy(scene_path: Path, bands: tuple[int, int, int], layers: NDArray[np.uint8], out_path: Path) -> Cost:
    """Read some bands of a scene once and write the layers of its map.

    Args:
        scene_path: of the scene.
        bands: 1-based numbers.
        layers: class, probability and qa of the whole scene, (3, H, W).
        out_path: replaced if it exists.
    """
    start_s, start_processor_s = time.perf_counter(), time.process_time()
    with gdal_session():
        with open_raster(scene_path) as scene:
            for window in _windows(scene.height, scene.width):
                scene.read(list(bands), window=window)
        profile: dict[str, Any] = {"driver": "GTiff", "compress": "deflate", "tiled": True, "BIGTIFF": "IF_SAFER"}
        sides = {"blockxsize": ROWS_PX, "blockysize": ROWS_PX, "height": layers.shape[1], "width": layers.shape[2]}
        with open_raster(out_path, "w", count=3, dtype="uint8", interleave="band", **profile, **sides) as out:
            for window in _windows(out.height, out.width):
                out.write(layers[:, window.row_off : window.row_off + window.height], window=window)
    return Cost(time.perf_counter() - start_s, time.process_time() - start_processor_s)


def _windows(height_px: int, width_px: int) -> list[Window]:
    return [Window(0, row, width_px, min(ROWS_PX, height_px - row)) for row in range(0, height_px, ROWS_PX)]
