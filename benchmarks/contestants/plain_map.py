"""The map that a straightforward program writes: class and probability of a whole scene, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from kda_edge.rasters.valid_pixels import ValidPixels
from kda_edge.runtime.geo.gdal import open_raster

NODATA_BYTE: Final = 255
WRITING: Final = "GeoTIFF, 2 bands of bytes, DEFLATE, 256 px blocks, GDAL on all cores, no overviews, no polygons"

ROWS_PX: Final = 1024  # looked at once


def valid_pixels_of(dataset: Any, bands: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return where a scene holds data, (H, W), by the rule of the maps that it is compared with."""
    rule = ValidPixels(dataset, bands)
    valid = np.ones(dataset.shape, np.bool_)
    for row in range(0, dataset.height, ROWS_PX):
        window = Window(0, row, dataset.width, min(ROWS_PX, dataset.height - row))
        image = dataset.read(list(bands), window=window).transpose(1, 2, 0)
        valid[row : row + ROWS_PX] = rule.of(dataset, image, window).valid
    return valid


def write_plain_map(
    path: Path, dataset: Any, probability: NDArray[np.float32], valid: NDArray[np.bool_], threshold: float
) -> None:
    """Write class and probability where a scene lies.

    Args:
        path: of the map.
        dataset: the open scene, of the same size.
        probability: (H, W), 0..1.
        valid: (H, W), True where the scene has data.
        threshold: from which a pixel is landslide.
    """
    layers = np.empty((2, *probability.shape), np.uint8)
    layers[0] = probability >= np.float32(threshold)
    layers[1] = np.rint(probability * np.float32(254))
    layers[:, ~valid] = NODATA_BYTE
    place = {} if dataset.transform.is_identity else {"crs": dataset.crs, "transform": dataset.transform}
    with open_raster(
        path,
        "w",
        driver="GTiff",
        height=layers.shape[1],
        width=layers.shape[2],
        count=2,
        dtype="uint8",
        nodata=NODATA_BYTE,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        num_threads="all_cpus",
        BIGTIFF="IF_SAFER",
        **place,
    ) as out:
        out.write(layers)
