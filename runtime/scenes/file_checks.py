"""Checks of a raster file before its pixels are read: there, whole, and placed on Earth by a transform if at all."""

from __future__ import annotations

import math
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rasterio.enums import MaskFlags

from kda_edge.errors import SceneError

from ..geo.gdal import one_line
from ..geo.raster_names import RasterName
from .block_reader import COPY_AGAIN


def require_file(path: RasterName) -> None:
    """Make sure that there is a file that may be read; of an address, opening it tells.

    Raises:
        SceneError: there is none.
    """
    if not isinstance(path, Path):
        return
    try:
        str(path).encode()
        regular = stat.S_ISREG(path.stat().st_mode)
        with path.open("rb") if regular else nullcontext():
            pass
    except UnicodeEncodeError:
        raise SceneError(f"{str(path)!r} has a name that is not UTF-8, which GDAL can't open; rename it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise SceneError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise SceneError(f"{path} can't be opened ({one_line(error)}); ask for the right to read it") from error
    if not regular:
        raise SceneError(f"{path} is not a file; give the scene's raster file")


def require_transform(dataset: Any, path: RasterName) -> None:
    """Refuse a scene that only control points, a sensor model or coordinate grids place on Earth.

    Raises:
        SceneError: it is one, or its transform gives pixels no area.
    """
    if not dataset.transform.is_identity:
        if not math.isfinite(dataset.transform.determinant) or dataset.transform.determinant == 0:
            raise SceneError(
                f"{path} has a transform that gives its pixels no area; correct it with: gdal_edit.py -a_ullr"
            )
        return
    option, what = "", ""
    if dataset.gcps[0]:
        option, what = "-tps", "ground control points"
    elif dataset.rpcs is not None:
        option, what = "-rpc", "a sensor model (RPC)"
    elif dataset.tags(ns="GEOLOCATION"):
        option, what = "-geoloc", "coordinate grids"
    if what:
        raise SceneError(
            f"{path} is placed on Earth by {what} only, so its pixels form no grid there; "
            f"resample it first with: gdalwarp {option} {path} warped.tif"
        )


def require_whole(dataset: Any, path: RasterName, bands: tuple[int, int, int]) -> None:
    """Refuse what the header alone shows to be cut short: nobody wants half a scene mapped before a copy is finished.

    Damage within a file of full length is not found here; it costs the blocks that it hits.

    Raises:
        SceneError: the last block would lie behind the file's end, or a mask beside the file can't be read.
    """
    if not isinstance(path, Path):
        return  # how long a served file is, its server may not say; what it does not give, is lost
    sidecar = path.with_name(path.name + ".msk")
    if sidecar.exists() and MaskFlags.per_dataset not in dataset.mask_flag_enums[0]:
        raise SceneError(f"{sidecar} is the mask of {path.name} and can't be read; copy it again or remove it")
    if dataset.driver != "GTiff":
        return
    block_height, block_width = dataset.block_shapes[0]
    last = f"{(dataset.width - 1) // block_width}_{(dataset.height - 1) // block_height}"
    size_bytes = path.stat().st_size
    for band in bands:
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{last}", "TIFF", band)
        length = dataset.get_tag_item(f"BLOCK_SIZE_{last}", "TIFF", band)
        if offset and length and int(offset) + int(length) > size_bytes:
            raise SceneError(
                f"{path} ends after {size_bytes} bytes and its last rows should lie at {offset}; {COPY_AGAIN}"
            )
