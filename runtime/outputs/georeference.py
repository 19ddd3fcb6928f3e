"""CRS and transform of a scene, written to a GeoTIFF and read back equal, or refused."""

from __future__ import annotations

from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from kda_edge.errors import OutputError
from kda_edge.rasters.silence import silenced

from ..geo.gdal import GDAL_ERRORS
from ..scenes.remedies import written_anew
from ..scenes.scene import Scene


def place(scene: Scene) -> dict[str, Any]:
    """Return what the scene has of CRS and transform, as profile of a new file; a map has no more."""
    known = {"crs": scene.crs, "transform": scene.transform}
    return {name: value for name, value in known.items() if value is not None}


def lies_as(dataset: Any, scene: Scene) -> bool:
    """Whether an open dataset has the scene's CRS and transform, or as little of them."""
    transform = None if dataset.transform.is_identity else dataset.transform
    return bool(dataset.crs == scene.crs and transform == scene.transform)


def alone() -> Any:
    """Have GeoTIFFs read by themselves: GDAL puts into a sidecar what they can't hold, and a map travels without."""
    return rasterio.Env(GDAL_PAM_ENABLED=False)


def require_carried(scene: Scene) -> None:
    """Find out before hours of work whether a GeoTIFF gives back the scene's CRS and transform.

    Raises:
        OutputError: it does not.
    """
    with alone(), MemoryFile() as memory, silenced(NotGeoreferencedWarning):
        try:
            with memory.open(driver="GTiff", height=1, width=1, count=1, dtype="uint8", **place(scene)):
                pass
            with memory.open() as dataset:
                carried = lies_as(dataset, scene)
        except GDAL_ERRORS:
            carried = False
    if not carried:
        raise not_carried(scene)


def not_carried(scene: Scene) -> OutputError:
    """Return the error of a place that no GeoTIFF holds."""
    return OutputError(
        f"the CRS of {scene.path} can't be carried in a GeoTIFF; assign it one that can, such as an EPSG code, with: "
        + written_anew("gdal_translate -a_srs EPSG:CODE", scene.path)
    )
