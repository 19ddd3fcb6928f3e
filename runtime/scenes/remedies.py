"""What to do about a raster that can't be read, by where it lies."""

from __future__ import annotations

from pathlib import Path

from ..geo.raster_names import RasterName


def copy_again(name: RasterName) -> str:
    """Return what to do where a raster can't be opened or read."""
    if isinstance(name, Path):
        return "copy it again from its source"
    return "check the address, the network and the right to read it, or download it and give the file"


def not_a_raster(name: RasterName) -> str:
    """Return what to do where GDAL takes something for no raster."""
    if isinstance(name, Path):
        return "give a GeoTIFF, or copy it again if it should be one"
    return f"{copy_again(name)}; if it is video, add --video"


def bring_back(name: RasterName) -> str:
    """Return what to do where a raster that was open can't be opened any more."""
    return "bring it back where it was" if isinstance(name, Path) else copy_again(name)
