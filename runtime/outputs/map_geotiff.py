"""The landslide map as a GeoTIFF: three bands of bytes and a mask, written once, read back before it counts."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from kda_edge.errors import OutputError
from kda_edge.whole_files import free_bytes_at

from ..geo.gdal import GDAL_ERRORS, gdal_session, one_line, open_raster, reading_blocks, writing_blocks
from ..map_format import BLOCK_PX, MAP_BANDS, NODATA_BYTE
from ..scenes.scene import Scene
from .georeference import alone, lies_as, not_carried, place, require_carried

OVERVIEWS_FROM_PX: Final = 512  # longer scenes get overviews, down to one block
# Of deflate, with the horizontal predictor: on the map of a drone's orthomosaic of 31 Mpx 0.7 s of CPU and 12.6 MB,
# where GDAL's own (6, no predictor) takes 1.2 s and 14.9 MB.
ZLEVEL: Final = 4
ROWS_BEHIND: Final = 1  # most rows of blocks that are still to be written while the next is filled


class MapWriter:
    """Writes a map from its first row to its last: each block once, in memory of a few rows of blocks.

    A thread of its own compresses and writes while the next rows are made; its errors are raised by the next call. The
    file's profile is its own, never the scene's; CRS and transform are the scene's to the bit. The map's mask is 0
    exactly where `class` is 255.

    Equal rows give equal bytes. GDAL writes whole blocks of bytes at once, but bits of the mask and overviews when its
    cache is full: they are made at the end, and alone.
    """

    def __init__(
        self,
        path: Path,
        scene: Scene,
        tags: Mapping[str, str],
        free_bytes: Callable[[Path], float] = free_bytes_at,
        late_tags: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Create the file.

        Args:
            path: of the map, replaced if it exists.
            scene: whose size, CRS and transform the map has.
            tags: written into the file.
            free_bytes: asked before each row of blocks what a folder still holds.
            late_tags: asked for further tags when the first rows are to be written, in the writing thread.

        Raises:
            OutputError: the file can't be created.
        """
        self._path, self._scene, self._free_bytes, self._late_tags = path, scene, free_bytes, late_tags
        self._rows = self._empty_rows()
        self._filled_px = 0
        self._next_row = 0
        self._sums = [0] * (len(MAP_BANDS) + 1)
        self._dataset: Any = None
        require_carried(scene)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kda-edge-writer")
        self._behind: deque[Future[None]] = deque()
        try:
            self._begin(self._create, tags).result()
        except BaseException:
            self.close()
            raise

    def write(self, layers: NDArray[np.uint8]) -> None:
        """Append rows.

        Args:
            layers: class, probability and qa, (3, h, width).

        Raises:
            OutputError: the file can't be written.
        """
        taken = 0
        while taken < layers.shape[1]:
            count = min(BLOCK_PX - self._filled_px, layers.shape[1] - taken)
            self._rows[:, self._filled_px : self._filled_px + count] = layers[:, taken : taken + count]
            self._filled_px += count
            taken += count
            if self._filled_px == BLOCK_PX:
                self._hand_over()

    def finish(self) -> None:
        """Write what is left, add overviews, close the file and read it back.

        Raises:
            OutputError: the file can't be written, or does not hold what was written to it.
        """
        if self._filled_px:
            self._hand_over()
        self._wait(0)
        assert self._next_row == self._scene.height_px
        self._begin(self._complete).result()
        self._begin(self.verify).result()

    def verify(self) -> None:
        """Read the closed map back: a full disk shows late, at closing, and not every library says so.

        Raises:
            OutputError: the file holds other bytes, or another place on Earth, than were written.
        """
        sums = [0] * len(self._sums)
        with _as_output_error(self._path), alone(), open_raster(self._path) as dataset:
            for window in _block_rows(dataset):
                with reading_blocks():
                    sums = _summed(sums, dataset.read(window=window), dataset.dataset_mask(window=window))
            placed = lies_as(dataset, self._scene)
        if sums != self._sums:
            raise OutputError(
                f"{self._path.parent} gave back other bytes than were written; check its free space and the disk"
            )
        if not placed:
            raise not_carried(self._scene)

    def close(self) -> None:
        """Close the file, finished or not, and end the thread; never raises."""
        for future in self._behind:
            future.cancel()
        self._begin(self._let_go)  # within a session: without one GDAL prints what goes wrong at closing
        self._thread.shutdown(wait=True)

    def _let_go(self) -> None:
        if self._dataset is not None:
            with suppress(*GDAL_ERRORS):  # an unfinished file is thrown away by its owner
                self._dataset.close()

    def _begin(self, work: Callable[..., None], *arguments: Any) -> Future[None]:
        """Have the thread do something after what it was given before, with GDAL set up as everywhere."""

        def within_session() -> None:
            with gdal_session():
                work(*arguments)

        return self._thread.submit(within_session)

    def _wait(self, most: int) -> None:
        """Wait until at most so many rows of blocks are still to be written."""
        while len(self._behind) > most:
            self._behind.popleft().result()

    def _empty_rows(self) -> NDArray[np.uint8]:
        return np.empty((len(MAP_BANDS), BLOCK_PX, self._scene.width_px), np.uint8)

    def _hand_over(self) -> None:
        self._wait(ROWS_BEHIND - 1)
        rows = self._rows[:, : self._filled_px]
        self._behind.append(self._begin(self._write_block_row, rows, self._next_row))
        self._next_row += self._filled_px
        self._rows, self._filled_px = self._empty_rows(), 0

    def _create(self, tags: Mapping[str, str]) -> None:
        scene = self._scene
        with _as_output_error(self._path):
            self._dataset = open_raster(
                self._path,
                "w+",
                driver="GTiff",
                height=scene.height_px,
                width=scene.width_px,
                count=len(MAP_BANDS),
                dtype="uint8",
                nodata=NODATA_BYTE,
                tiled=True,
                blockxsize=BLOCK_PX,
                blockysize=BLOCK_PX,
                compress="deflate",
                zlevel=ZLEVEL,
                predictor=2,
                interleave="band",
                photometric="minisblack",
                BIGTIFF="IF_SAFER",
                **place(scene),
            )
            self._dataset.descriptions = MAP_BANDS
            self._dataset.update_tags(**tags)

    def _complete(self) -> None:
        """Add the mask, close the file and add overviews."""
        with _as_output_error(self._path), writing_blocks():
            with self._dataset as dataset:
                for window in _block_rows(dataset):
                    dataset.write_mask(_mask_of(dataset.read([1], window=window)), window=window)
            longest_px = max(self._scene.height_px, self._scene.width_px)
            if longest_px > OVERVIEWS_FROM_PX:
                with rasterio.Env(ZLEVEL_OVERVIEW=ZLEVEL), open_raster(self._path, "r+") as dataset:
                    dataset.build_overviews(list(_overview_factors(longest_px)), Resampling.nearest)

    def _write_block_row(self, rows: NDArray[np.uint8], row0: int) -> None:
        free_bytes, needed_bytes = self._free_bytes(self._path.parent), len(MAP_BANDS) * BLOCK_PX * rows.shape[2]
        if free_bytes < needed_bytes:  # before GDAL meets the end of the disk and prints lines of its own
            raise OutputError(
                f"{self._path.parent} has {free_bytes / 1e6:.1f} MB left and the next rows of the map may need "
                f"{needed_bytes / 1e6:.1f} MB; free some space there or choose another folder with -o"
            )
        late_tags = self._late_tags() if row0 == 0 else {}
        mask = _mask_of(rows)
        window = Window(0, row0, rows.shape[2], rows.shape[1])
        with _as_output_error(self._path):
            self._dataset.update_tags(**late_tags)
            self._dataset.write(rows, window=window)
            if row0 == 0:  # the mask's directory lies behind the first blocks; no bit of it is written yet
                self._dataset.write_mask(np.empty((0, 0), np.uint8), window=Window(0, 0, 0, 0))
        self._sums = _summed(self._sums, rows, mask)


@contextmanager
def map_writer(
    path: Path,
    scene: Scene,
    tags: Mapping[str, str],
    *,
    free_bytes: Callable[[Path], float] = free_bytes_at,
    late_tags: Callable[[], Mapping[str, str]] = dict,
) -> Iterator[MapWriter]:
    """Open a `MapWriter` and close its file whatever happens."""
    writer = MapWriter(path, scene, tags, free_bytes, late_tags)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (*GDAL_ERRORS, OSError) as error:
        raise OutputError(
            f"the map can't be written to {path.parent} ({one_line(error)}); "
            "free some space there or choose another folder with -o"
        ) from error


def _mask_of(layers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    known: NDArray[np.uint8] = (layers[0] != NODATA_BYTE).view(np.uint8)
    known *= np.uint8(255)
    return known


def _summed(sums: list[int], layers: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[int]:
    """Return the running CRC-32 of each band and the mask, row after row: the same however the rows are cut."""
    return [zlib.crc32(np.ascontiguousarray(a).data, s) for a, s in zip((*layers, mask), sums, strict=True)]


def _block_rows(dataset: Any) -> Iterator[Window]:
    for row in range(0, dataset.height, BLOCK_PX):
        yield Window(0, row, dataset.width, min(BLOCK_PX, dataset.height - row))


def _overview_factors(longest_px: int) -> Iterator[int]:
    factor = 2
    while True:
        yield factor
        if -(-longest_px // factor) <= BLOCK_PX:
            return
        factor *= 2
