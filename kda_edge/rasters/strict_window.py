"""A window of a raster read strictly: pixels and where they are valid, or what GDAL complained of.

Every error, and every warning, that GDAL gives while pixels or masks are read counts: a decoder that goes on after a
warning has made pixels up. So does a check sum that GDAL does not look at. Only what *opening* a file says does not
count: a VRT opens its sources, and a raster the mask beside it, while pixels are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from kda_edge.rasters.deflate_blocks import DeflateBlocks
from kda_edge.rasters.gdal_messages import GDAL_ERRORS, listening, one_line
from kda_edge.rasters.silence import silenced
from kda_edge.rasters.valid_pixels import Validity, ValidPixels

NO_SOURCES: Final = (".aux.xml", ".ovr")  # what a VRT names besides


class WindowPixels(NamedTuple):
    """What a window of a raster holds.

    Attributes:
        image: (H, W, C), as they are in the file.
        valid: (H, W), where all chosen bands hold data.
        partly: (H, W), where some of them do and others don't; None: nowhere.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    partly: NDArray[np.bool_] | None


class StrictBands:
    """Some bands of a raster file, for strict reads from any dataset of it."""

    def __init__(self, path: Path | str, dataset: Any, bands: Sequence[int], *, judged: bool = True) -> None:
        """Read the header.

        Args:
            path: of the file, or a name by which GDAL opens it.
            dataset: of the file, open.
            bands: 1-based numbers, in the order in which they are wanted, of one pixel type.
            judged: whether pixels without data are looked for; else all count as valid.
        """
        self._path, self._bands = path, list(bands)
        self.rule = ValidPixels(dataset, bands) if judged else None
        self._blocks = DeflateBlocks(path, dataset, bands)
        self._opening: frozenset[str] | None = None  # what opening the file says, once that matters

    def read(self, dataset: Any, window: Window) -> WindowPixels | list[str]:
        """Return what a window holds, in whole pixels, or what is wrong with it, a sentence each."""
        heard: list[str] = []
        try:
            with listening(heard):
                planes = dataset.read(self._bands, window=window)
                image = planes.transpose(1, 2, 0)
                whole = Validity(np.ones(image.shape[:2], np.bool_), None)
                valid, partly = whole if self.rule is None else self.rule.of(dataset, image, window)
                fault = self._blocks.fault(dataset, window, planes)
        except (*GDAL_ERRORS, OSError) as error:
            return [*heard, one_line(error)]
        if heard:
            if self._opening is None:
                self._opening = opening_warnings(self._path)
            heard = [text for text in heard if text not in self._opening]
        if fault is not None:
            heard.append(fault)
        return heard or WindowPixels(image, valid, partly)

    def read_all(self, dataset: Any) -> WindowPixels | list[str]:
        """Return what the whole raster holds, or what is wrong with it."""
        return self.read(dataset, Window(0, 0, dataset.width, dataset.height))


def opening_warnings(path: Path | str) -> frozenset[str]:
    """Return what GDAL warns of when a raster and the files that it is made of are opened and no pixel is read."""
    heard: list[str] = []
    for part in parts_of(path):
        if part.dataset is not None:
            with listening(heard), suppress(*GDAL_ERRORS), _opened(_beside(part)) as probe:
                probe.read(1, window=Window(part.dataset.width, 0, 1, 1))
    return frozenset(heard)


def _beside(part: Part) -> str:
    """Return a VRT of which the last column lies beside a raster: to read it, GDAL opens the raster and no more.

    rasterio itself opens files so that nobody hears what GDAL warns of.
    """
    source = f"<SourceFilename>{escape(part.name)}</SourceFilename><SourceBand>1</SourceBand>"
    band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource></VRTRasterBand>'
    return f'<VRTDataset rasterXSize="{part.dataset.width + 1}" rasterYSize="{part.dataset.height}">{band}</VRTDataset>'


class Part(NamedTuple):
    """A file that a raster is made of.

    Attributes:
        name: as GDAL takes it, a path or an address.
        dataset: open until the next part is asked for; None: it is no raster, or can't be opened.
        is_source: a VRT has its pixels from there.
    """

    name: str
    dataset: Any
    is_source: bool


def parts_of(path: Path | str) -> Iterator[Part]:
    """Yield a raster and the files that it is made of, to any depth: sources of a VRT, what lies beside a file."""
    waiting, seen = [Part(str(path), None, is_source=True)], {str(path)}
    while waiting:
        part = waiting.pop()
        try:
            with _opened(part.name) as dataset:
                named = [name for name in dataset.files if name not in seen]
                seen.update(named)
                is_vrt = dataset.driver == "VRT"
                waiting += [Part(name, None, is_vrt and not name.endswith(NO_SOURCES)) for name in named]
                yield part._replace(dataset=dataset)
        except GDAL_ERRORS:
            yield part


def _opened(name: str) -> Any:
    with silenced(NotGeoreferencedWarning):
        return rasterio.open(name)
