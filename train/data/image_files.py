"""Reading images and masks exactly as they were declared: no data type, range or class is guessed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from kda_edge.errors import DataError
from kda_edge.gdal_setup import set_up_gdal
from kda_edge.manifest import InputContract

BACKGROUND: Final = 0
LANDSLIDE: Final = 1
IGNORED: Final = 255


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
    """

    height_px: int
    width_px: int
    bands: int
    pixel_type: str


def open_raster(path: Path) -> Any:
    """Open an image file of any kind that GDAL reads (TIFF, PNG, JPEG, WebP), georeferenced or not.

    Raises:
        DataError: missing, or not an image.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    set_up_gdal()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path)
    except RasterioError as error:
        raise DataError(f"{path} can't be read as an image; is it damaged?") from error


def read_facts(path: Path) -> ImageFacts:
    """Return what the header says, without reading pixels.

    Raises:
        DataError: missing, or not an image.
    """
    with open_raster(path) as dataset:
        return ImageFacts(dataset.height, dataset.width, dataset.count, dataset.dtypes[0])


def require_declared(facts: ImageFacts, path: Path, contract: InputContract, bands: tuple[int, ...]) -> None:
    """Raise `DataError` unless an image is of the declared data type and has the chosen bands."""
    if facts.pixel_type != contract.pixel_type:
        raise DataError(
            f"{path} is {facts.pixel_type} and {contract.pixel_type} was declared; "
            "declare pixel_type and value_range under [input] in the data file"
        )
    if facts.bands < max(bands):
        raise DataError(f"{path} has {facts.bands} bands and band {max(bands)} was declared; set `bands` of its source")


def read_image(
    path: Path, contract: InputContract, bands: tuple[int, ...], window: Window | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the pixels of a window, (H, W, 3), and where they hold data, (H, W).

    Raises:
        DataError: unreadable, not of the declared data type, too few bands.
    """
    with open_raster(path) as dataset:
        facts = ImageFacts(dataset.height, dataset.width, dataset.count, dataset.dtypes[0])
        require_declared(facts, path, contract, bands)
        try:
            image = dataset.read(bands, window=window)
            valid = dataset.dataset_mask(window=window) > 0
        except RasterioError as error:
            raise DataError(f"{path} is damaged: its pixels can't be read") from error
    valid &= np.isfinite(image).all(axis=0)
    return np.ascontiguousarray(image.transpose(1, 2, 0)), valid


def read_mask(path: Path, rule: MaskRule, window: Window | None = None) -> NDArray[np.uint8]:
    """Return the labels of a window, (H, W): `BACKGROUND`, `LANDSLIDE` or `IGNORED`.

    Raises:
        DataError: unreadable, coloured, or a value that the rule does not name.
    """
    with open_raster(path) as dataset:
        try:
            layers = dataset.read(window=window)
        except RasterioError as error:
            raise DataError(f"{path} is damaged: its pixels can't be read") from error
    values = layers[0]
    if len(layers) > 1 and not all(np.array_equal(values, layer) for layer in layers[1:3]):
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
