"""The overview that a quicklook is read from: a GeoTIFF's own, where it shows what the scene has and what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rasterio.enums import ColorInterp, MaskFlags

from kda_edge.rasters.valid_pixels import NODATA_TUPLE

from ..geo.gdal import open_raster
from ..geo.raster_names import RasterName
from ..map_format import QUICKLOOK_FACTOR
from .resampled import resampled_px
from .scene_digest import OVERVIEWS

FROM_OVERVIEWS: Final = "the overviews in its file"
FROM_MEANS: Final = f"means of {QUICKLOOK_FACTOR} x {QUICKLOOK_FACTOR} px"


class Overview(NamedTuple):
    """An overview of a file.

    Attributes:
        dataset: open.
        level: its number, from 0.
    """

    dataset: Any
    level: int


def overview_of(path: RasterName, dataset: Any, bands: Sequence[int]) -> Overview | None:
    """Open the overview that has a quicklook's pixels; None where there is none that can be relied on.

    It lies inside a GeoTIFF: overviews beside a file are left behind when it changes. Where masks, alpha or blocks that
    the file never got say what is no data, overviews are not used: they may lack the mask, are often blended with what
    alpha hides, and have black ground for missing blocks.

    Args:
        path: of the scene.
        dataset: the scene, open.
        bands: 1-based numbers of those that are read.

    Raises:
        RasterioError: it can't be opened.
    """
    if dataset.driver != "GTiff" or any(Path(name).suffix.lower() == OVERVIEWS for name in dataset.files):
        return None
    levels = {tuple(dataset.overviews(band)) for band in bands}
    factors = levels.pop()
    if levels or QUICKLOOK_FACTOR not in factors or not all(_tells_nodata(dataset, band) for band in set(bands)):
        return None
    if ColorInterp.alpha in dataset.colorinterp or NODATA_TUPLE in dataset.tags():
        return None
    level = factors.index(QUICKLOOK_FACTOR)
    overview = open_raster(path, OVERVIEW_LEVEL=level)
    if overview.shape == tuple(resampled_px(side_px, QUICKLOOK_FACTOR) for side_px in dataset.shape):
        return Overview(overview, level)
    overview.close()
    return None


def _tells_nodata(dataset: Any, band: int) -> bool:
    """Whether the values of a band say where it has no data, or all of it has."""
    flags = set(dataset.mask_flag_enums[band - 1])
    return flags == {MaskFlags.nodata} or (flags == {MaskFlags.all_valid} and _has_all_blocks(dataset, band))


def _has_all_blocks(dataset: Any, band: int) -> bool:
    height, width = dataset.block_shapes[band - 1]
    return all(
        dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", band) is not None
        for row in range(-(-dataset.height // height))
        for col in range(-(-dataset.width // width))
    )
