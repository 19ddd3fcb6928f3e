"""Windows of a raster file, with the blocks that it can't give marked as lost instead of filled in.

What counts as damage stands in `kda_edge.rasters.strict_window`. What no decoder notices is not found here: a wrong bit
often ends the decoding of a DEFLATE block, but seldom that of an LZW or ZSTD one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from kda_edge.errors import SceneError
from kda_edge.rasters.strict_window import StrictBands
from kda_edge.tiling.pixels import Pixels

from ..geo.gdal import GDAL_ERRORS, MOST_WARNINGS, one_line, open_raster, reading_blocks
from ..geo.raster_names import RasterName, gdal_name_of, over_network
from .remedies import bring_back, damaged

PROBES: Final = 16  # blocks looked at before a file counts as unreadable

_log = logging.getLogger(__name__)


class _Block(NamedTuple):
    """A block of the file, or the part of it that lies in a window."""

    number: tuple[int, int]
    row0: int
    row1: int
    col0: int
    col1: int


class BlockReader:
    """An open raster file, in one thread. Blocks that it could not give, twice, are never asked for again.

    After each failure the file is opened anew: GDAL's cache would give the made-up pixels of a damaged block again
    without a word, and libtiff may take a good block behind a damaged one for damaged as well.

    Attributes:
        height_px: rows.
        width_px: columns.
        block_hw: sides of a block.
        warnings: what GDAL said of the blocks that are lost, each sentence once, the first few.
        partly_valid_px: pixels read so far that are not valid only because one or two of the three bands have no data;
            each once, where windows come from top to bottom, whether or not they overlap.
    """

    def __init__(
        self, path: RasterName, dataset: Any, bands: tuple[int, int, int], *, overview: int | None = None
    ) -> None:
        """Take over an open dataset, an overview of the file where its number is given; `close` closes it."""
        self.height_px: int = dataset.height
        self.width_px: int = dataset.width
        self.block_hw: tuple[int, int] = dataset.block_shapes[bands[0] - 1]
        self.warnings: list[str] = []
        self.partly_valid_px = 0
        self._path, self._dataset = path, dataset
        self._level: dict[str, Any] = {} if overview is None else {"OVERVIEW_LEVEL": overview}
        self._layout = _layout(dataset)
        self._bands = StrictBands(gdal_name_of(path), dataset, bands)
        self._counted_to = np.zeros(self.width_px, np.int64)  # the row down to which each column was counted
        self._type = np.dtype(dataset.dtypes[bands[0] - 1])
        self._decoded_from_the_top = self.block_hw == (1, self.width_px) and not _rows_stand_alone(dataset)
        self._over_network = any(map(over_network, dataset.files))
        self._bad: set[tuple[int, int]] = set()
        self._end_px = self.height_px  # from this row on, all is lost
        self._has_given = False

    def close(self) -> None:
        """Let go of the file."""
        self._dataset.close()

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return the pixels of a window, (H, W, 3), where they are valid and where they are lost.

        A window that can't be read is tried again, then block by block. Lost pixels are 0 and not valid.

        Raises:
            SceneError: nothing of the file can be read, or it is not there any more.
        """
        blocks = list(self._blocks(row0, row1, col0, col1))
        if row1 <= self._end_px and not any(block.number in self._bad for block in blocks):
            pixels = self._twice(row0, row1, col0, col1)
            if isinstance(pixels, Pixels):
                return pixels
        image = np.zeros((3, row1 - row0, col1 - col0), self._type).transpose(1, 2, 0)
        valid, lost = np.zeros(image.shape[:2], np.bool_), np.ones(image.shape[:2], np.bool_)
        for block in blocks:
            pixels = self._block(block)
            if isinstance(pixels, Pixels):
                here = np.s_[block.row0 - row0 : block.row1 - row0, block.col0 - col0 : block.col1 - col0]
                image[here], valid[here], lost[here] = pixels.image, pixels.valid, False
        if not self._has_given:
            self._require_any()
        return Pixels(image, valid, lost)

    def _block(self, block: _Block) -> Pixels | str:
        """Return what a block holds, or why it can't be read; remember the latter."""
        if block.number in self._bad or block.row0 >= self._end_px:
            return "known to be lost"
        pixels = self._twice(block.row0, block.row1, block.col0, block.col1)
        if isinstance(pixels, str):
            if self._decoded_from_the_top:
                self._end_px = block.row0
            else:
                self._bad.add(block.number)
            if pixels not in self.warnings and len(self.warnings) < MOST_WARNINGS:
                self.warnings.append(pixels)
        return pixels

    def _twice(self, row0: int, row1: int, col0: int, col1: int) -> Pixels | str:
        """Return what a window holds, or why it can't be read; then the file has been opened anew."""
        window, reason = Window(col0, row0, col1 - col0, row1 - row0), ""
        for _ in range(2):
            with reading_blocks():
                found = self._bands.read(self._dataset, window)
            if not isinstance(found, list):
                self._has_given = True
                self._count(found.partly, row0, row1, slice(col0, col1))
                return Pixels(found.image, found.valid)
            reason = found[-1]
            _log.info("%s: rows %d to %d can't be read: %s", self._path, row0, row1 - 1, "; ".join(found))
            self._open_anew()
        if self._over_network:  # a network that fails would cost block after block its time-outs
            raise SceneError(
                f"{self._path} can't be read in rows {row0} to {row1 - 1} ({reason}); check the network and go on, "
                "or download the scene and map the file, whose damaged parts are marked"
            )
        return reason

    def _count(self, partly: NDArray[np.bool_] | None, row0: int, row1: int, cols: slice) -> None:
        if partly is not None:
            is_new = np.arange(row0, row1)[:, None] >= self._counted_to[cols]
            self.partly_valid_px += int(np.count_nonzero(partly & is_new))
        self._counted_to[cols] = np.maximum(self._counted_to[cols], row1)

    def _open_anew(self) -> None:
        self._dataset.close()
        try:
            self._dataset = open_raster(self._path, **self._level)
        except GDAL_ERRORS as error:
            raise SceneError(
                f"{self._path} can't be read any more ({one_line(error)}); {bring_back(self._path)}"
            ) from error
        if _layout(self._dataset) != self._layout:
            raise SceneError(f"{self._path} was changed while it was read; let no other program write it")

    def _require_any(self) -> None:
        """Look at blocks all over a file that has given nothing yet."""
        if self._end_px > 0:
            height, width = self.block_hw
            rows, cols = -(-self._end_px // height), -(-self.width_px // width)
            for number in range(PROBES):
                row, col = divmod(number * rows * cols // PROBES, cols)
                inside = row * height, min((row + 1) * height, self._end_px)
                block = _Block((row, col), *inside, col * width, min((col + 1) * width, self.width_px))
                if isinstance(self._block(block), Pixels):
                    return
        raise SceneError(f"nothing of {self._path} can be read ({self.warnings[0]}); {damaged(self._path)}")

    def _blocks(self, row0: int, row1: int, col0: int, col1: int) -> Iterator[_Block]:
        height, width = self.block_hw
        for row in range(row0 // height, -(-row1 // height)):
            for col in range(col0 // width, -(-col1 // width)):
                rows = max(row * height, row0), min((row + 1) * height, row1)
                yield _Block((row, col), *rows, max(col * width, col0), min((col + 1) * width, col1))


def _layout(dataset: Any) -> tuple[object, ...]:
    return dataset.shape, dataset.dtypes, dataset.block_shapes


def _rows_stand_alone(dataset: Any) -> bool:
    """Whether rows that are a block each can be decoded without those above; PNG, JPEG and large TIFF strips can't."""
    return dataset.driver == "GTiff" and dataset.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", 1) is not None
