"""Valid pixels of a raster: where the bands that a model is given hold data, as the file declares it.

The one rule of maps, training and frames: a pixel is valid where **all** chosen bands have data there, and no word of
the file speaks against it. Bands that nobody chose have no say, but for alpha.

- A band has no data where it holds its nodata value, NaN or infinity, where a mask of its own is 0, or where a GeoTIFF
  has no such block at all.
- The pixel has none where the mask of the whole file (internal, or beside it) is 0, where an alpha band is 0 or NaN,
  or where all chosen bands hold the file's tuple of `NODATA_VALUES`.

GDAL's own `dataset_mask` differs: it asks all bands, lets one with data make up for one without, knows alpha in files
of two or four bands only, and lets a mask hide a nodata value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

NODATA_TUPLE: Final = "NODATA_VALUES"  # GDAL's tag: a value a band, and no data where a pixel holds all of them
ULPS: Final = 4  # units in the last place: floats are equal within as many, since a nodata value is written as decimals
Mask = NDArray[np.bool_]


class Validity(NamedTuple):
    """Where a window holds data.

    Attributes:
        valid: (H, W).
        partly: (H, W), not valid only because some of the chosen bands have no data while others have; None: nowhere.
    """

    valid: Mask
    partly: Mask | None


@dataclass(frozen=True)
class _Interval:
    """Values that count as nodata, both ends included."""

    low: Any
    high: Any

    @classmethod
    def around(cls, nodata: float | None, kind: np.dtype[Any]) -> _Interval | None:
        """Return the values of a type that are a nodata value; None where none can be."""
        if nodata is None or math.isnan(nodata):  # NaN is no data in any case
            return None
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            if not (math.isfinite(nodata) and nodata == int(nodata) and limits.min <= nodata <= limits.max):
                return None
            return cls(kind.type(int(nodata)), kind.type(int(nodata)))
        spread = ULPS * float(np.finfo(kind).eps) * abs(nodata) if math.isfinite(nodata) else 0.0
        with np.errstate(over="ignore"):  # beyond the type's end is infinity, which is no data either
            return cls(kind.type(nodata - spread), kind.type(nodata + spread))

    def holds(self, plane: NDArray[Any]) -> Mask:
        """Return where a band holds such a value."""
        if self.low == self.high:
            return np.asarray(plane == self.low)
        return np.asarray((plane >= self.low) & (plane <= self.high))


class ValidPixels:
    """The rule for some bands of an open raster; it holds for every dataset of the same file."""

    def __init__(self, dataset: Any, bands: Sequence[int]) -> None:
        """Read the header.

        Args:
            dataset: open.
            bands: 1-based numbers of the bands that are looked at, of one pixel type; a number may occur twice.
        """
        flags = [set(found) for found in dataset.mask_flag_enums]
        kind = np.dtype(dataset.dtypes[bands[0] - 1])
        # Bands that say something of their own: their number, where in `bands` they come first.
        self._chosen = {band: list(bands).index(band) for band in bands}
        self._nodata = {band: _Interval.around(dataset.nodatavals[band - 1], kind) for band in self._chosen}
        self._alpha = [band for band, color in enumerate(dataset.colorinterp, 1) if color == ColorInterp.alpha]
        self._masked: list[int] = []  # bands with a mask of their own
        self._file_mask: int | None = None  # a band to ask for the mask of the file
        together = _tuple_of(dataset)
        self._tuple = {band: _Interval.around(together[band - 1], kind) for band in self._chosen}
        for band in self._chosen:
            found = flags[band - 1]
            if MaskFlags.all_valid in found or MaskFlags.nodata in found or (MaskFlags.alpha in found and self._alpha):
                continue
            if MaskFlags.per_dataset in found:
                self._file_mask = band
            else:
                self._masked.append(band)
        self._is_whole_numbers = kind.kind in "iu"
        self._missing = _MissingBlocks() if dataset.driver == "GTiff" else None

    @property
    def can_not_fail(self) -> bool:
        """Whether every pixel is valid, whatever it holds."""
        declared = [*self._nodata.values(), *self._tuple.values(), self._file_mask, self._missing]
        return self._is_whole_numbers and not self._alpha and not self._masked and all(d is None for d in declared)

    def of(self, dataset: Any, image: NDArray[Any], window: Window) -> Validity:
        """Return where a window holds data; masks and alpha are read from the dataset, and no pixels.

        Args:
            dataset: as the one that the rule was made from.
            image: (H, W, C), the chosen bands of the window, in the order in which they were chosen.
            window: in whole pixels.
        """
        own = [self._without_data(dataset, band, image[..., at], window) for band, at in self._chosen.items()]
        given = [missing for missing in own if missing is not None]
        allowed = self._allowed(dataset, image, window)
        if not given:
            return Validity(np.ones(image.shape[:2], np.bool_) if allowed is None else allowed, None)
        some = reduce(np.logical_or, given)
        partly = some & ~reduce(np.logical_and, given) if len(given) == len(own) else some
        if allowed is None:
            return Validity(~some, partly if partly.any() else None)
        partly = partly & allowed
        return Validity(allowed & ~some, partly if partly.any() else None)

    def _without_data(self, dataset: Any, band: int, plane: NDArray[Any], window: Window) -> Mask | None:
        """Return where one band has no data by itself; None: nowhere."""
        found: list[Mask] = []
        nodata = self._nodata[band]
        if nodata is not None:
            found.append(nodata.holds(plane))
        if plane.dtype.kind == "f":
            found.append(~np.isfinite(plane))
        if band in self._masked:
            found.append(dataset.read_masks(band, window=window) == 0)
        if nodata is None and self._missing is not None:  # else GDAL gives the nodata value
            found.extend(self._missing.of(dataset, band, plane, window))
        return None if not found else reduce(np.logical_or, found)

    def _allowed(self, dataset: Any, image: NDArray[Any], window: Window) -> Mask | None:
        """Return where nothing that speaks of all bands at once says that there is no data; None: everywhere."""
        found: list[Mask] = []
        if self._file_mask is not None:
            found.append(dataset.read_masks(self._file_mask, window=window) > 0)
        for band in self._alpha:
            plane = dataset.read(band, window=window)
            found.append(plane > 0)  # NaN is not
            if self._missing is not None:
                found.extend(~missing for missing in self._missing.of(dataset, band, plane, window))
        if all(value is not None for value in self._tuple.values()):
            alike = [value.holds(image[..., self._chosen[band]]) for band, value in self._tuple.items() if value]
            found.append(~reduce(np.logical_and, alike))
        return None if not found else reduce(np.logical_and, found)


class _MissingBlocks:
    """Blocks that a GeoTIFF says it never had; GDAL gives them as the nodata value, or as 0 where there is none."""

    def __init__(self) -> None:
        self._one_strip: bool | None = None  # until it matters

    def of(self, dataset: Any, band: int, plane: NDArray[Any], window: Window) -> Iterator[Mask]:
        """Yield where blocks are missing in a window of a band, if any are; blocks of more than one value are there."""
        height, width = dataset.block_shapes[band - 1]
        top, left = int(window.row_off), int(window.col_off)
        missing: Mask | None = None
        for row in range(top // height, -(-(top + plane.shape[0]) // height)):
            rows = slice(max(row * height - top, 0), (row + 1) * height - top)
            for col in range(left // width, -(-(left + plane.shape[1]) // width)):
                block = plane[rows, max(col * width - left, 0) : (col + 1) * width - left]
                first = block[0, 0]
                if first != block[-1, -1] or (block != first).any() or not self._is_missing(dataset, band, row, col):
                    continue
                missing = np.zeros(plane.shape, np.bool_) if missing is None else missing
                missing[rows, max(col * width - left, 0) : (col + 1) * width - left] = True
        if missing is not None:
            yield missing

    def _is_missing(self, dataset: Any, band: int, row: int, col: int) -> bool:
        if dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", band) is not None:
            return False
        if self._one_strip is None:
            self._one_strip = dataset.block_shapes[0] == (1, dataset.width) and not _rows_are_blocks(dataset)
        return not self._one_strip


def _rows_are_blocks(dataset: Any) -> bool:
    """Whether a file whose blocks are single rows is stored so: GDAL shows one large strip in the same way."""
    name = "BLOCK_OFFSET_0_{}"
    return any(dataset.get_tag_item(name.format(row), "TIFF", 1) is not None for row in range(1, dataset.height))


def _tuple_of(dataset: Any) -> list[float | None]:
    """Return the value of each band in the file's tuple, or none of any where it is not one number a band."""
    try:
        values: list[float | None] = [float(text) for text in dataset.tags().get(NODATA_TUPLE, "").split()]
    except ValueError:
        values = []
    return values if len(values) == dataset.count else [None] * dataset.count
