"""A georeferenced raster, read by windows: three bands of raw pixels and where they are valid."""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.predict import Pixels

from .bands import choose_bands
from .gdal import GDAL_ERRORS, listening, one_line, open_raster, valid_mask

MAP_BANDS: Final = ("class", "probability", "qa")  # what our own maps call their bands
_COPY_AGAIN: Final = "the file is damaged or not fully copied; copy it again from its source"


class Scene:
    """An open raster that a model can be given. Made by `open_scene`.

    Attributes:
        path: of the file.
        height_px: rows.
        width_px: columns.
        crs: as the file has it; None where it has none.
        transform: from (column, row) to the CRS, as the file has it; None where it has none.
        bands: 1-based numbers of the bands that the model gets, in its order.
        block_hw: sides of the blocks that the file is stored in.
        warnings: what GDAL warned of while pixels were read; part of them may be made up.
    """

    def __init__(self, dataset: Any, path: Path, bands: tuple[int, int, int]) -> None:
        self.path = path
        self.height_px: int = dataset.height
        self.width_px: int = dataset.width
        self.crs: Any = dataset.crs
        self.transform: Any = None if dataset.transform.is_identity else dataset.transform
        self.bands = bands
        self.block_hw: tuple[int, int] = dataset.block_shapes[bands[0] - 1]
        self.warnings: list[str] = []
        self._dataset = dataset
        self._all_valid = all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums)
        self._may_hold_nan = any(np.dtype(dataset.dtypes[band - 1]).kind == "f" for band in bands)

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return the pixels (H, W, 3) of a window, in the file's own values and type, and where they are valid (H, W).

        Valid is what `rasterio`'s `dataset_mask` calls valid (nodata value, alpha, internal or sidecar mask), less
        pixels that hold a NaN or an infinity in one of the three bands.

        Raises:
            SceneError: the file can't be read there. Nothing is ever put in the place of pixels that can't be read.
        """
        window = Window(col0, row0, col1 - col0, row1 - row0)
        try:
            with listening(self.warnings):
                image = self._dataset.read(list(self.bands), window=window).transpose(1, 2, 0)
                valid = valid_mask(self._dataset, window)
        except GDAL_ERRORS as error:
            raise self._unreadable(row0, row1, error) from error
        if self._may_hold_nan:
            valid &= np.isfinite(image).all(axis=2)
        return Pixels(image, valid)

    def valid(self, row0: int, row1: int) -> NDArray[np.bool_]:
        """Return where whole rows are valid, (row1 - row0, width), as `read` says it.

        Raises:
            SceneError: the file can't be read there.
        """
        if self._may_hold_nan:
            return self.read(row0, row1, 0, self.width_px)[1]
        if self._all_valid:
            return np.ones((row1 - row0, self.width_px), np.bool_)
        try:
            with listening(self.warnings):
                return valid_mask(self._dataset, Window(0, row0, self.width_px, row1 - row0))
        except GDAL_ERRORS as error:
            raise self._unreadable(row0, row1, error) from error

    def _unreadable(self, row0: int, row1: int, error: BaseException) -> SceneError:
        return SceneError(
            f"{self.path} can't be read in rows {row0} to {row1 - 1} ({one_line(error)}); {_COPY_AGAIN}; "
            "nothing was written"
        )


@contextmanager
def open_scene(
    path: Path,
    contract: InputContract,
    *,
    bands: tuple[int, int, int] | None = None,
    value_range: tuple[float, float] | None = None,
) -> Iterator[Scene]:
    """Open a raster as a scene for a model.

    Args:
        path: a file of any format that GDAL reads.
        contract: the pixels that the model may be given.
        bands: 1-based numbers of the model's bands, in its order; None asks the file.
        value_range: least and largest value that the scene can hold, where the user declared it; then any real pixel
            type is taken.

    Raises:
        SceneError: no file, no raster, damaged, wrong bands or pixel type, or a georeference that is no transform.
    """
    _require_file(path)
    try:
        dataset = open_raster(path)
    except GDAL_ERRORS as error:
        raise SceneError(
            f"{path} is not a raster that GDAL can read ({one_line(error)}); give a GeoTIFF, "
            "or copy it again if it should be one"
        ) from error
    with dataset:
        try:
            chosen = _checked_bands(dataset, path, contract, bands)
            _require_pixel_type(dataset, path, chosen, contract, value_range)
            _require_transform(dataset, path)
            _require_whole(dataset, path, chosen)
            scene = Scene(dataset, path, chosen)
        except GDAL_ERRORS as error:
            raise SceneError(f"{path} has a header that can't be read ({one_line(error)}); {_COPY_AGAIN}") from error
        yield scene


def _require_file(path: Path) -> None:
    try:
        str(path).encode()
        regular = stat.S_ISREG(path.stat().st_mode)
        with path.open("rb") if regular else nullcontext():
            pass
    except UnicodeEncodeError:
        raise SceneError(f"{str(path)!r} has a name that is not UTF-8, which GDAL can't open; rename it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise SceneError(f"{path} does not exist; check the path") from None
    except OSError as error:
        raise SceneError(f"{path} can't be opened ({one_line(error)}); ask for the right to read it") from error
    if not regular:
        raise SceneError(f"{path} is not a file; give the scene's raster file")


def _checked_bands(
    dataset: Any, path: Path, contract: InputContract, asked: tuple[int, int, int] | None
) -> tuple[int, int, int]:
    if dataset.count == 0:
        inside = f"; it holds other rasters, write one out with: gdal_translate {dataset.subdatasets[0]} scene.tif"
        raise SceneError(f"{path} has no bands{inside if dataset.subdatasets else '; give a colour image'}")
    if dataset.descriptions == MAP_BANDS:
        raise SceneError(f"{path} is a landslide map, not a scene; give the scene that it was made from")
    return choose_bands(str(path), [color.name.lower() for color in dataset.colorinterp], asked, contract.bands)


def _require_pixel_type(
    dataset: Any,
    path: Path,
    bands: tuple[int, int, int],
    contract: InputContract,
    value_range: tuple[float, float] | None,
) -> None:
    found = sorted({dataset.dtypes[band - 1] for band in bands})
    if any(kind.startswith("complex") for kind in found):
        raise SceneError(f"{path} holds complex numbers; write their magnitude to a new file and give that one")
    if value_range is None and found != [contract.pixel_type]:
        low, high = contract.value_range
        raise SceneError(
            f"{path} holds {' and '.join(found)} pixels and the model was trained on {contract.pixel_type} from "
            f"{low:g} to {high:g}; declare the least and largest value that the scene can hold with --value-range LO HI"
        )


def _require_transform(dataset: Any, path: Path) -> None:
    """Refuse a scene that only control points, a sensor model or coordinate grids place on Earth."""
    if not dataset.transform.is_identity:
        if not math.isfinite(dataset.transform.determinant) or dataset.transform.determinant == 0:
            raise SceneError(
                f"{path} has a transform that gives its pixels no area; correct it with: gdal_edit.py -a_ullr"
            )
        return
    option, what = "", ""
    if dataset.gcps[0]:
        option, what = "-tps", "ground control points"
    elif dataset.rpcs is not None:
        option, what = "-rpc", "a sensor model (RPC)"
    elif dataset.tags(ns="GEOLOCATION"):
        option, what = "-geoloc", "coordinate grids"
    if what:
        raise SceneError(
            f"{path} is placed on Earth by {what} only, so its pixels form no grid there; "
            f"resample it first with: gdalwarp {option} {path} warped.tif"
        )


def _require_whole(dataset: Any, path: Path, bands: tuple[int, int, int]) -> None:
    """Find what a look at the header can find of a file cut short; reading finds the rest."""
    sidecar = path.with_name(path.name + ".msk")
    if sidecar.exists() and MaskFlags.per_dataset not in dataset.mask_flag_enums[0]:
        raise SceneError(f"{sidecar} is the mask of {path.name} and can't be read; copy it again or remove it")
    if dataset.driver != "GTiff":
        return
    block_height, block_width = dataset.block_shapes[0]
    last = f"{(dataset.width - 1) // block_width}_{(dataset.height - 1) // block_height}"
    size_bytes = path.stat().st_size
    for band in bands:
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{last}", "TIFF", band)
        length = dataset.get_tag_item(f"BLOCK_SIZE_{last}", "TIFF", band)
        if offset and length and int(offset) + int(length) > size_bytes:
            raise SceneError(
                f"{path} ends after {size_bytes} bytes and its last rows should lie at {offset}; {_COPY_AGAIN}"
            )
