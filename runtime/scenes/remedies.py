"""What to do about a raster that can't be read, by where it lies."""

from __future__ import annotations

import shlex
from pathlib import Path

from kda_edge.rasters.whole_rasters import COPY_AGAIN

from ..geo.raster_names import RasterName


def copy_again(name: RasterName) -> str:
    """Return what to do where a raster can't be opened or read."""
    if isinstance(name, Path):
        return "copy it again from its source"
    return "check the address, the network and the right to read it, or download it and give the file"


def damaged(name: RasterName) -> str:
    """Return what to do where a raster is open and what lies in it can't be read."""
    if isinstance(name, Path):
        return COPY_AGAIN
    return "the file is damaged, or its server gives other bytes; download it, and copy it again from its source"


def written_anew(tool: str, name: RasterName) -> str:
    """Return the command that writes a raster anew, to a file of another name.

    Args:
        tool: of GDAL, with its options.
        name: the raster; of an address, GDAL's own tools may want it in other words.
    """
    if isinstance(name, Path):
        return f"{tool} {_word(str(name))} {_word(f'{name.stem}_new.tif')}"
    return f"{tool} DOWNLOADED {_word(f'{name.stem}_new.tif')}, once it is downloaded"


def not_a_raster(name: RasterName) -> str:
    """Return what to do where GDAL takes something for no raster."""
    if isinstance(name, Path):
        return "give a GeoTIFF, or copy it again if it should be one"
    return f"{copy_again(name)}; if it is video, add --video"


def bring_back(name: RasterName) -> str:
    """Return what to do where a raster that was open can't be opened any more."""
    return "bring it back where it was" if isinstance(name, Path) else copy_again(name)


def _word(path: str) -> str:
    """Return a path as a shell takes it for one, and a program for no option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)
