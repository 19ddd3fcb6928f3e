"""DEFLATE blocks of a GeoTIFF: whether each agrees with its own check sum, of which libtiff takes no notice.

libtiff stops a block where its pixels are full. After damage the codes are out of step, and often they give more than
enough: of noise whose blocks had 40 or 2000 bytes overwritten, 28 of 54 files passed for whole.

Where the pixels that were read are the very bytes of a block, their own sum is taken: a tenth of what decoding them
again takes.
Source: RFC 1950, the Adler-32 at the end of every stream
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Compression, Interleaving
from rasterio.windows import Window

STEP_BYTES: Final = 2**18
REMEMBERED: Final = 256  # files
SUM_BYTES: Final = 4  # of the check sum that ends a block
MERGED: Final = ("uint8", "uint16", "int16", "float32")  # types whose planes OpenCV interleaves
HORIZONTAL: Final = "2"  # the predictor that stores differences from the left

_Place: TypeAlias = tuple[int, int]  # offset and length in the file


class DeflateBlocks:
    """The blocks of some bands of one file; a process looks at each of them once, and again when the file changes."""

    def __init__(self, path: Path | str, dataset: Any, bands: Sequence[int]) -> None:
        """Read the header.

        Args:
            path: of the file; a name that is no local path has no blocks that could be looked at.
            dataset: of the file, open.
            bands: 1-based numbers of those that are read.
        """
        self._path = Path(path)
        is_tiff = dataset.driver == "GTiff"  # others are not asked: GDAL looks for it in a damaged JPEG 2000 for ever
        together = is_tiff and dataset.interleaving == Interleaving.pixel
        self._bands = [bands[0]] if together else sorted(set(bands))
        is_deflate = is_tiff and dataset.compression == Compression.deflate
        self._good: set[_Place] | None = None  # where there is nothing to look at
        if is_deflate and isinstance(path, Path) and path.is_file():
            state = path.stat()
            self._good = _good_blocks(path.resolve(), state.st_size, state.st_mtime_ns, state.st_ino)
        # Of each looked-at band's blocks, where among `bands` their pixels are; nowhere if others lie between them.
        held = range(1, dataset.count + 1) if together else None
        self._at = {
            band: [list(bands).index(one) for one in held or (band,)]
            for band in self._bands
            if held is None or set(held) <= set(bands)
        }
        self._steps = is_deflate and dataset.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") == HORIZONTAL

    def fault(self, dataset: Any, window: Window, planes: NDArray[Any] | None = None) -> str | None:
        """Say which block of a window does not agree with its check sum; None: all do, or there are no such blocks.

        Args:
            dataset: of the file, open.
            window: in whole pixels.
            planes: what was read of the window, (C, H, W), the bands in their order; None: nothing yet.

        Raises:
            OSError: the file can't be read.
        """
        if self._good is None:
            return None
        for band, name, place in self._places(dataset, window):
            if place in self._good:
                continue
            pixels = None if planes is None else self._whole_block(dataset, window, planes, band, name)
            if not ((pixels is not None and self._agrees(pixels, place)) or self._is_good(*place)):
                return f"block {name} does not agree with its check sum"
            self._good.add(place)
        return None

    def _places(self, dataset: Any, window: Window) -> Iterator[tuple[int, str, _Place]]:
        height, width = dataset.block_shapes[self._bands[0] - 1]
        top, left = int(window.row_off), int(window.col_off)
        for band in self._bands:
            for row in range(top // height, -(-(top + int(window.height)) // height)):
                for col in range(left // width, -(-(left + int(window.width)) // width)):
                    # GDAL shows one large strip as a block a row, and knows the place of the first one.
                    for name in (f"{col}_{row}", *(("0_0",) if height == 1 else ())):
                        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", band)
                        if offset is not None:
                            size = dataset.get_tag_item(f"BLOCK_SIZE_{name}", "TIFF", band)
                            yield band, name, (int(offset), int(size))
                            break

    def _whole_block(
        self, dataset: Any, window: Window, planes: NDArray[Any], band: int, name: str
    ) -> NDArray[Any] | None:
        """Return a block's pixels, (h, w, C), from what was read; None: it holds more, or is padded."""
        if band not in self._at or planes.dtype.name not in MERGED:
            return None
        height, width = dataset.block_shapes[band - 1]
        col, row = (int(number) for number in name.split("_"))
        top, left = row * height - int(window.row_off), col * width - int(window.col_off)
        if min(top, left) < 0 or top + height > planes.shape[1] or left + width > planes.shape[2]:
            return None
        return np.asarray(cv2.merge([planes[at, top : top + height, left : left + width] for at in self._at[band]]))

    def _agrees(self, pixels: NDArray[Any], place: _Place) -> bool:
        """Whether the pixels of a block have the check sum that ends it; False where they are stored otherwise."""
        if self._steps:
            steps = pixels.copy()
            steps[:, 1:] -= pixels[:, :-1]
            pixels = steps
        with self._path.open("rb") as file:
            file.seek(sum(place) - SUM_BYTES)
            return zlib.adler32(pixels.data) == int.from_bytes(file.read(SUM_BYTES), "big")

    def _is_good(self, offset: int, size: int) -> bool:
        stream = zlib.decompressobj()
        with self._path.open("rb") as file:
            file.seek(offset)
            while size and not stream.eof:
                data = file.read(min(size, STEP_BYTES))
                if not data:
                    return False
                size -= len(data)
                try:
                    while data:
                        stream.decompress(data, STEP_BYTES)
                        data = stream.unconsumed_tail
                except zlib.error:
                    return False
        return stream.eof


@lru_cache(REMEMBERED)
def _good_blocks(*_: object) -> set[_Place]:
    """Return the set of the blocks of a file, as it was at a time, that were found good so far; threads share it."""
    return set()


def forget_blocks() -> None:
    """Have every block of every file opened from now on looked at anew, as a process does that has just begun."""
    _good_blocks.cache_clear()
