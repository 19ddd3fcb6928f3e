"""Whether a raster file is whole: what can be known before its pixels are looked at, format by format.

Most formats fail where their pixels are read behind the end of a file. Asked here are those of which GDAL takes the
missing part for zeros, or makes it up, and TIFF, whose header alone tells.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from rasterio.enums import MaskFlags

from kda_edge.paths import exists, resolved
from kda_edge.rasters.jpeg_stream import SIGNATURE as JPEG
from kda_edge.rasters.jpeg_stream import jpeg_fault
from kda_edge.rasters.png_chunks import SIGNATURE as PNG
from kda_edge.rasters.png_chunks import png_fault

COPY_AGAIN: Final = "the file is damaged or not fully copied; copy it again from its source"
CHECKED_WHOLE: Final = frozenset({"PNG", "JPEG"})  # drivers of the formats whose every byte is looked at here
# Drivers of formats whose missing or damaged parts reading alone does not tell; the file itself is looked at.
NEED_THE_FILE: Final = CHECKED_WHOLE | {"ENVI", "HFA", "PCIDSK", "TGA"}
PCIDSK_BLOCK_BYTES: Final = 512
HFA_HEAD_BYTES: Final = 49  # of an ERDAS Imagine's file for the pixels beside it
HFA_FLAGS_HEAD_BYTES: Final = 20  # before a bit for each block of a band
_NO_SIDECAR: Final = {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha}  # what a mask beside the file replaces
REMEMBERED: Final = 2**16  # files, so that training looks at each of them once and not at every crop


def whole_fault(dataset: Any, path: Path, bands: Sequence[int]) -> str | None:
    """Say, in one line with its remedy, why a raster is not whole; None: nothing speaks against it.

    Damage within a file of full length is found here in PNG and JPEG only; in others it costs the blocks that it hits.
    Must be called within GDAL's strict options.

    Args:
        dataset: of the file, open.
        path: of the file.
        bands: 1-based numbers of those that will be read.

    Raises:
        OSError: the file can't be read.
    """
    sidecar = path.with_name(path.name + ".msk")
    if exists(sidecar) and _NO_SIDECAR & set(dataset.mask_flag_enums[bands[0] - 1]):
        return f"{sidecar} is the mask of {path.name} and can't be read; copy it again or remove it"
    return _short_tiff(dataset, path, bands) if dataset.driver == "GTiff" else unnoticed_fault(dataset, path)


def unnoticed_fault(dataset: Any, path: Path) -> str | None:
    """Say why a raster is not whole where reading its pixels would not tell; None: nothing speaks against it.

    Raises:
        OSError: the file can't be read.
    """
    fault = file_fault(path)
    if fault is not None:
        return f"{path} is not whole ({fault}); copy it again from its source"
    if dataset.driver == "TGA":
        return f"{path} is a TGA, of which nobody can tell whether it is whole; give a GeoTIFF or a PNG"
    for part, least_bytes in _least_bytes(dataset, path).items():
        size_bytes = part.stat().st_size
        if size_bytes < least_bytes:
            return _ended(part, size_bytes, f"should have {least_bytes}")
    return None


def file_fault(path: Path) -> str | None:
    """Say what is wrong with the bytes of a PNG or a JPEG; None: nothing, or it is neither.

    A file is looked at once, and again when its size or time has changed.

    Raises:
        OSError: it can't be read.
    """
    state = path.stat()
    return _fault_of(resolved(path), state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(REMEMBERED)
def _fault_of(path: Path, *_: int) -> str | None:
    with path.open("rb") as file:
        begin = file.read(max(len(PNG), len(JPEG)))
        file.seek(0, os.SEEK_SET)
        if begin.startswith(PNG):
            return png_fault(file)
        return jpeg_fault(file.read()) if begin.startswith(JPEG) else None


def _short_tiff(dataset: Any, path: Path, bands: Sequence[int]) -> str | None:
    block_height, block_width = dataset.block_shapes[bands[0] - 1]
    last = f"{(dataset.width - 1) // block_width}_{(dataset.height - 1) // block_height}"
    size_bytes = path.stat().st_size
    for band in bands:
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{last}", "TIFF", band)
        length = dataset.get_tag_item(f"BLOCK_SIZE_{last}", "TIFF", band)
        if offset and length and int(offset) + int(length) > size_bytes:
            return _ended(path, size_bytes, f"its last rows should lie at {offset}")
    return None


def _ended(path: Path, size_bytes: int, expected: str) -> str:
    return f"{path} ends after {size_bytes} bytes and {expected}; {COPY_AGAIN}"


def _least_bytes(dataset: Any, path: Path) -> dict[Path, int]:
    """Return how long files must be whose missing end GDAL would fill with zeros."""
    pixel_bytes = sum(np.dtype(kind).itemsize for kind in dataset.dtypes)
    if dataset.driver == "ENVI":
        offset = int(dataset.tags(ns="ENVI").get("header_offset", 0))
        return {path: offset + dataset.width * dataset.height * pixel_bytes}
    if dataset.driver == "PCIDSK":
        with path.open("rb") as file:
            head = file.read(368)
        blocks, layout = head[16:32].strip(), head[360:368].strip()
        return {path: int(blocks) * PCIDSK_BLOCK_BYTES} if layout in (b"PIXEL", b"BAND") and blocks.isdigit() else {}
    if dataset.driver == "HFA":
        height, width = dataset.block_shapes[0]
        rows, cols = -(-dataset.height // height), -(-dataset.width // width)
        flags_bytes = dataset.count * (HFA_FLAGS_HEAD_BYTES + rows * -(-cols // 8))
        beside = [Path(name) for name in dataset.files if name.lower().endswith(".ige")]
        return dict.fromkeys(beside, HFA_HEAD_BYTES + flags_bytes + rows * cols * height * width * pixel_bytes)
    return {}
