"""Checks of a raster file before its pixels are read: there, whole, and placed on Earth by a transform if at all."""

from __future__ import annotations

import math
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from kda_edge.addresses import redacted
from kda_edge.errors import SceneError
from kda_edge.paths import is_file, is_utf8
from kda_edge.rasters.strict_window import Part, parts_of
from kda_edge.rasters.whole_rasters import COPY_AGAIN, NEED_THE_FILE, unnoticed_fault, whole_fault

from ..geo.gdal import one_line
from ..geo.raster_names import RasterName
from .remedies import written_anew

ITS_FILE: Final = "a look at its file"
GIVE_IT: Final = "download or unpack it and give the file"


def require_file(path: RasterName) -> None:
    """Make sure that there is a file that may be read; of an address, opening it tells.

    Raises:
        SceneError: there is none.
    """
    if not isinstance(path, Path):
        return
    if not is_utf8(path):
        raise SceneError(f"{str(path)!r} has a name that is not UTF-8, which GDAL can't open; rename it")
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        with path.open("rb") if regular else nullcontext():
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise SceneError(f"{path} does not exist; check the path") from None
    except PermissionError as error:
        raise SceneError(f"{path} can't be opened ({one_line(error)}); ask for the right to read it") from error
    except (OSError, ValueError) as error:
        raise SceneError(f"{path} can't be opened ({one_line(error)}); check the path") from error
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
            "resample it first with: " + written_anew(f"gdalwarp {option}", path)
        )


def require_whole(dataset: Any, path: RasterName, bands: tuple[int, int, int]) -> None:
    """Refuse what is seen to be cut short or damaged: nobody wants half a scene mapped before a copy is finished.

    Raises:
        SceneError: the file is, or one that it is made of in a way that reading its pixels would not tell.
    """
    if not isinstance(path, Path):  # what GDAL does not get of it, it tells of most formats
        if dataset.driver in NEED_THE_FILE:
            raise SceneError(f"{path} is a {dataset.driver}, which only {ITS_FILE} shows to be whole; {GIVE_IT}")
        return
    try:
        fault = whole_fault(dataset, path, bands)
        if fault is None and dataset.driver == "VRT":
            fault = next((fault for part in parts_of(path) if (fault := _fault_of_part(path, part))), None)
    except OSError as error:
        raise SceneError(f"{path} can't be read ({one_line(error)}); {COPY_AGAIN}") from error
    if fault is not None:
        raise SceneError(fault)


def _fault_of_part(path: Path, part: Part) -> str | None:
    """Say which file of a VRT keeps it from being mapped; for one that it can't open, GDAL may give zeros."""
    if part.dataset is None:
        return (
            f"{path} is made of {redacted(part.name)}, which can't be opened; copy it again" if part.is_source else None
        )
    file = Path(part.name)
    if part.dataset.driver in NEED_THE_FILE and not is_file(file):
        kind = f"a {part.dataset.driver}, which only {ITS_FILE} shows to be whole"
        return f"{path} is made of {redacted(part.name)}, {kind}; {GIVE_IT}"
    fault = unnoticed_fault(part.dataset, file) if file != path and is_file(file) else None
    return fault and f"{path} is made of a file that can't be read: {fault}"
