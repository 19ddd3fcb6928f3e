"""An image file that another decoder gives the pixels of: that it is whole, and where it holds data."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from kda_edge.errors import SceneError
from kda_edge.rasters.strict_window import StrictBands
from kda_edge.rasters.whole_rasters import CHECKED_WHOLE, whole_fault

from ..geo.gdal import GDAL_ERRORS, gdal_session, one_line, open_raster

UPRIGHT: Final = (None, "1")  # values of the tag that tells how a camera was held


def where_valid(path: Path) -> NDArray[np.bool_] | None:
    """Return where an image file holds data, (H, W), as a scene's pixels do; None: everywhere.

    The first three bands count, or the one or two that there are besides alpha.

    Raises:
        SceneError: it is damaged or cut short, or no image that GDAL reads.
    """
    try:
        with gdal_session(), open_raster(path) as dataset:
            colors = enumerate(dataset.colorinterp, 1)
            bands = [band for band, color in colors if color != ColorInterp.alpha][:3]
            fault = whole_fault(dataset, path, bands)
            if fault is not None:
                raise SceneError(fault)
            strict = StrictBands(path, dataset, bands)
            if strict.rule is not None and strict.rule.can_not_fail and dataset.driver in CHECKED_WHOLE:
                return None
            found = strict.read_all(dataset)
            if isinstance(found, list):
                raise SceneError(f"{path} is damaged ({found[-1]}); copy it again from its source")
            if found.valid.all():
                return None
            if dataset.tags().get("EXIF_Orientation") not in UPRIGHT:
                raise SceneError(f"{path} is to be turned upright and has pixels without data; write it upright first")
            return found.valid
    except GDAL_ERRORS as error:
        raise SceneError(f"{path} can't be read ({one_line(error)}); copy it again from its source") from error
