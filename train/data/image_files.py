"""Reading images and masks exactly as they were declared: no data type, range or class is guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from kda_edge.errors import DataError, quantity
from kda_edge.gdal_setup import set_up_gdal
from kda_edge.manifest import InputContract
from kda_edge.rasters.gdal_messages import GDAL_ERRORS, STRICT
from kda_edge.rasters.silence import silenced
from kda_edge.rasters.strict_window import StrictBands, WindowPixels
from kda_edge.rasters.whole_rasters import whole_fault

from .labels import BACKGROUND, IGNORED, LANDSLIDE


@dataclass(frozen=True)
class MaskRule:
    """What the values of a mask mean; 0 is always background.

    Attributes:
        landslide: values that mean landslide; empty: every value that is neither 0 nor ignored.
        ignored: values that mean "don't judge here".
    """

    landslide: tuple[int, ...] = (1, 255)
    ignored: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image file says.

    Attributes:
        height_px: rows.
        width_px: columns.
        bands: channels.
        pixel_type: NumPy's name of the data type.
        alpha: 1-based numbers of alpha bands.
        scaling: scale and offset of each band: a value is the stored number times the first, plus the second.
    """

    height_px: int
    width_px: int
    bands: int
    pixel_type: str
    alpha: tuple[int, ...] = ()
    scaling: tuple[tuple[float, float], ...] = ()


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """Open an image file of any kind that GDAL reads (TIFF, PNG, JPEG, WebP), georeferenced or not, for strict reads.

    Raises:
        DataError: missing, or not an image.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    set_up_gdal()
    with rasterio.Env(**STRICT):
        try:
            with silenced(NotGeoreferencedWarning):
                dataset = rasterio.open(path)
        except GDAL_ERRORS as error:
            raise DataError(f"{path} can't be read as an image; is it damaged?") from error
        with dataset:
            yield dataset


def read_facts(path: Path) -> ImageFacts:
    """Return what the header says, without reading pixels.

    Raises:
        DataError: missing, or not an image.
    """
    with open_raster(path) as dataset:
        return _facts_of(dataset)


def require_whole(path: Path, bands: Sequence[int] = (1,)) -> None:
    """Raise `DataError` where a file is seen to be cut short or damaged before its pixels are read."""
    with open_raster(path) as dataset:
        _require_whole(dataset, path, bands)


def require_declared(facts: ImageFacts, path: Path, contract: InputContract, bands: tuple[int, ...]) -> None:
    """Raise `DataError` unless an image is of the declared data type and has the chosen bands."""
    if facts.pixel_type != contract.pixel_type:
        raise DataError(
            f"{path} is {facts.pixel_type} and {contract.pixel_type} was declared; "
            "declare pixel_type and value_range under [input] in the data file"
        )
    if facts.bands < max(bands):
        raise DataError(
            f"{path} has {quantity(facts.bands, 'band')} and band {max(bands)} was declared; set `bands` of its source"
        )
    alpha = set(bands) & set(facts.alpha)
    if alpha:
        raise DataError(
            f"band {min(alpha)} of {path} is alpha, which only says where it has data; set `bands` of its source"
        )


def read_image(
    path: Path, contract: InputContract, bands: tuple[int, ...], window: Window | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the pixels of a window, (H, W, 3), and where they hold data as a map's pixels do, (H, W).

    Raises:
        DataError: damaged, not of the declared data type, too few bands.
    """
    with open_raster(path) as dataset:
        require_declared(_facts_of(dataset), path, contract, bands)
        pixels = _read(dataset, path, bands, window, judged=True)
    return np.ascontiguousarray(pixels.image), pixels.valid


def read_mask(path: Path, rule: MaskRule, window: Window | None = None) -> NDArray[np.uint8]:
    """Return the labels of a window, (H, W): `BACKGROUND`, `LANDSLIDE` or `IGNORED`.

    Raises:
        DataError: damaged, coloured, or a value that the rule does not name.
    """
    with open_raster(path) as dataset:
        layers = _read(dataset, path, range(1, dataset.count + 1)[:3], window).image
    values = layers[..., 0]
    if not all(np.array_equal(values, layers[..., number]) for number in range(1, layers.shape[2])):
        raise DataError(f"the mask {path} is coloured; save it as one band of class values")
    labels = np.full(values.shape, IGNORED, np.uint8)
    labels[values == BACKGROUND] = BACKGROUND
    ignored = np.isin(values, rule.ignored)
    landslide = np.isin(values, rule.landslide) if rule.landslide else (values != BACKGROUND)
    labels[landslide & ~ignored] = LANDSLIDE
    strange = np.unique(values[(labels == IGNORED) & ~ignored])
    if strange.size:
        listed = ", ".join(str(value) for value in strange[:5])
        raise DataError(
            f"the mask {path} holds the value {listed}; declare it with mask_landslide or mask_ignored of its source"
        )
    if set(np.unique(values[landslide]).tolist()) >= {1, 255}:
        raise DataError(
            f"the mask {path} holds both 1 and 255; declare which is landslide with mask_landslide or mask_ignored"
        )
    return labels


def read_is_judged(path: Path, window: Window | None = None) -> NDArray[np.bool_]:
    """Return where a mask of valid pixels is not 0, (H, W).

    Raises:
        DataError: damaged.
    """
    with open_raster(path) as dataset:
        return np.asarray(_read(dataset, path, (1,), window).image[..., 0] != 0)


def _facts_of(dataset: Any) -> ImageFacts:
    return ImageFacts(
        dataset.height,
        dataset.width,
        dataset.count,
        dataset.dtypes[0],
        tuple(band for band, color in enumerate(dataset.colorinterp, 1) if color == ColorInterp.alpha),
        tuple(zip(dataset.scales, dataset.offsets, strict=True)),
    )


def _read(
    dataset: Any, path: Path, bands: Sequence[int], window: Window | None, *, judged: bool = False
) -> WindowPixels:
    _require_whole(dataset, path, bands)
    strict = StrictBands(path, dataset, bands, judged=judged)
    found = strict.read_all(dataset) if window is None else strict.read(dataset, window)
    if isinstance(found, list):
        raise DataError(f"{path} is damaged: its pixels can't be read ({found[-1]}); copy it again from its source")
    return found


def _require_whole(dataset: Any, path: Path, bands: Sequence[int]) -> None:
    fault = whole_fault(dataset, path, bands)
    if fault is not None:
        raise DataError(fault)
