"""A georeferenced raster, read by windows: three bands of raw pixels and where they are valid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from kda_edge.errors import SceneError, UsageError
from kda_edge.ground.ground_sampling import ground_sampling_m, gsd_note, nearest_m, pixel_sides_m, shape_note
from kda_edge.manifest import InputContract
from kda_edge.tiling.pixels import Pixels

from ..geo.gdal import GDAL_ERRORS, one_line, open_raster
from ..geo.raster_names import RasterName
from ..map_format import QUICKLOOK_FACTOR
from ..scene_options import Resample, require_resample
from .block_reader import BlockReader
from .file_checks import require_file, require_transform, require_whole
from .fits_model import (
    Scaling,
    checked_bands,
    require_ground_sampling,
    require_pixel_type,
    scaling_note,
    value_note,
)
from .quicklook import FROM_MEANS, FROM_OVERVIEWS, overview_of
from .remedies import damaged, not_a_raster
from .resampled import Resampled

MOST_PX: Final = 2**31 - 1  # of a side, in a file of GDAL's


@dataclass(frozen=True)
class Scene:
    """An open raster that a model can be given, for one thread. Made by `open_scene`.

    Attributes:
        path: of the file, or its address.
        height_px: rows, resampled ones where it is read so.
        width_px: columns, likewise.
        crs: as the file has it; None where it has none.
        transform: from (column, row) to the CRS; as the file has it, or its pixels `factor` times as long; None where
            it has none.
        bands: 1-based numbers of the bands that the model gets, in its order.
        pixel_type: of the file.
        gsd_m: side of a pixel on the ground, metres; None where nobody knows.
        sides_m: how far a pixel reaches the longest and the shortest way, likewise.
        factor: sides of a pixel over those in the file; 1 where nothing is resampled.
        contract: the pixels that the model may be given.
        value_range: least and largest value that the scene can hold, where the user declared it.
        scaling: scale and offset that the file declares for each of the bands.
        quicklook_from: what the pixels of a quicklook are read from, in words; None: it is no quicklook.
    """

    path: RasterName
    height_px: int
    width_px: int
    crs: Any
    transform: Any
    bands: tuple[int, int, int]
    pixel_type: np.dtype[Any]
    gsd_m: float | None
    sides_m: tuple[float, float] | None
    factor: float
    contract: InputContract
    value_range: tuple[float, float] | None
    scaling: tuple[Scaling, ...]
    quicklook_from: str | None
    _file: BlockReader
    _source: BlockReader | Resampled

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        """Return the pixels (H, W, 3) of a window, in the file's type, where they are valid and where they are lost.

        Valid is what `kda_edge.rasters.valid_pixels` calls so, less those that are lost. Lost is what lies in a block
        that the file could not give, twice; its pixels are 0. Values are the file's own, or as `Resampled` says.

        Raises:
            SceneError: nothing of the file can be read, or it is gone.
        """
        return self._source.read(row0, row1, col0, col1)

    @property
    def block_hw(self) -> tuple[int, int]:
        """Sides of the blocks that the file is stored in, about, where it is resampled."""
        return self._source.block_hw

    @property
    def warnings(self) -> Sequence[str]:
        """What GDAL said of the blocks that are lost so far."""
        return self._source.warnings

    @property
    def partly_valid_px(self) -> int:
        """Pixels of what this scene has read that have data in one or two of the three bands only, each once."""
        return self._file.partly_valid_px

    def notes(self, values: NDArray[Any], partly_valid_px: int) -> Iterator[str]:
        """Yield what a person should know of the scene before using a map of it, a sentence each.

        Args:
            values: of valid pixels from all over the scene, any shape.
            partly_valid_px: pixels of the whole scene that have data in some of the bands only.
        """
        if self.quicklook_from is not None:
            yield (
                f"a quicklook at a quarter of the resolution, from {self.quicklook_from}: it misses landslides, small "
                "ones above all, and marks other ground; act on a map made without --quicklook"
            )
        elif self.gsd_m is not None and self.factor != 1:
            own = f"{self.gsd_m / self.factor:.3g} m"
            finer = f"; it has no detail finer than {own} all the same" if self.factor < 1 else ""
            yield f"the scene was read at {self.gsd_m:.3g} m instead of {own} a pixel, and so is its map{finer}"
        if partly_valid_px:
            whose = "overview" if self.quicklook_from == FROM_OVERVIEWS else "scene"
            yield (
                f"{partly_valid_px} px of the {whose} have data in one or two of the three bands only, and "
                "count as nodata"
            )
        for note in (
            gsd_note(self.gsd_m, self.contract.gsd_m, remedy=_remedy(quicklook=self.quicklook_from is not None)),
            shape_note(self.sides_m),
            scaling_note(self.scaling),
            value_note(values, self.pixel_type, self.contract, self.value_range),
        ):
            if note is not None:
                yield note


@contextmanager
def open_scene(
    path: RasterName,
    contract: InputContract,
    *,
    bands: tuple[int, int, int] | None = None,
    value_range: tuple[float, float] | None = None,
    resample: Resample = None,
    quicklook: bool = False,
    any_gsd: bool = False,
    checked: bool = False,
) -> Iterator[Scene]:
    """Open a raster as a scene for a model, in the thread that reads it and within that thread's GDAL session.

    Args:
        path: a file of any format that GDAL reads, or its address.
        contract: the pixels that the model may be given.
        bands: 1-based numbers of the model's bands, in its order; None asks the file.
        value_range: least and largest value that the scene can hold, where the user declared it; then any real pixel
            type is taken.
        resample: the ground sampling distance to read at, metres; `trained` is the nearest that the model learned
            from; None is the scene's own.
        quicklook: read at a quarter of the resolution, instead of resampling: from the file's overviews where these
            can stand for it (`overview_of`), else as means.
        any_gsd: take pixels of any size on the ground.
        checked: the file was opened as a scene before, and need not be looked at again for being whole.

    Raises:
        SceneError: no file, no raster, damaged, wrong bands or pixel type, a georeference that is no transform, or
            pixels of a size on the ground that is far from those trained on.
        UsageError: no such resampling.
    """
    require_file(path)
    try:
        dataset = open_raster(path)
    except GDAL_ERRORS as error:
        raise SceneError(
            f"{path} is not a raster that GDAL can read ({one_line(error)}); {not_a_raster(path)}"
        ) from error
    reader = None
    try:
        try:
            chosen = checked_bands(dataset, path, contract, bands)
            require_pixel_type(dataset, path, chosen, contract, value_range)
            require_transform(dataset, path)
            if not checked:
                require_whole(dataset, path, chosen)
            crs, transform = dataset.crs, None if dataset.transform.is_identity else dataset.transform
            shape = dataset.shape
            pixel_type = np.dtype(dataset.dtypes[chosen[0] - 1])
            scaling = tuple((dataset.scales[band - 1], dataset.offsets[band - 1]) for band in chosen)
            overview = overview_of(path, dataset, chosen) if quicklook else None
            if overview is None:
                reader = BlockReader(path, dataset, chosen)
            else:
                reader = BlockReader(path, overview.dataset, chosen, overview=overview.level)
                dataset.close()
        except GDAL_ERRORS as error:
            raise SceneError(f"{path} has a header that can't be read ({one_line(error)}); {damaged(path)}") from error
        found_m, sides_m = ground_sampling_m(crs, transform, *shape), pixel_sides_m(crs, transform, *shape)
        if quicklook:
            gsd_m, factor = None if found_m is None else found_m * QUICKLOOK_FACTOR, float(QUICKLOOK_FACTOR)
        else:
            gsd_m, factor = _grid(path, found_m, resample, contract)
        what = f"the quicklook of {path}" if quicklook else path
        require_ground_sampling(what, gsd_m, contract, any_gsd=any_gsd, remedy=_remedy(quicklook=quicklook))
        source = reader if factor == 1 or overview is not None else Resampled(reader, factor)
        if max(source.height_px, source.width_px) > MOST_PX:
            raise SceneError(
                f"{path} would be {source.height_px} x {source.width_px} px at {gsd_m:g} m; choose more metres"
            )
        yield Scene(
            path=path,
            height_px=source.height_px,
            width_px=source.width_px,
            crs=crs,
            transform=transform if factor == 1 or transform is None else _scaled(transform, factor),
            bands=chosen,
            pixel_type=pixel_type,
            gsd_m=gsd_m,
            sides_m=None if sides_m is None else (sides_m[0] * factor, sides_m[1] * factor),
            factor=factor,
            contract=contract,
            value_range=value_range,
            scaling=scaling,
            quicklook_from=None if not quicklook else FROM_MEANS if overview is None else FROM_OVERVIEWS,
            _file=reader,
            _source=source,
        )
    finally:
        (dataset if reader is None else reader).close()


def _remedy(*, quicklook: bool) -> str:
    """Return the options with which a scene is read at what the model learned from."""
    return "--resample instead of --quicklook" if quicklook else "--resample"


def _scaled(transform: Any, factor: float) -> Affine:
    """Return the transform of pixels so many times as long, from the same upper left corner."""
    a, b, c, d, e, f = transform[:6]
    return Affine(a * factor, b * factor, c, d * factor, e * factor, f)


def _grid(
    path: RasterName, found_m: float | None, resample: Resample, contract: InputContract
) -> tuple[float | None, float]:
    """Return the ground sampling distance to read at, metres, and how many times as long that makes a pixel."""
    if resample is None:
        return found_m, 1.0
    require_resample(resample)
    if found_m is None:
        raise SceneError(
            f"{path} does not say how many metres a pixel is, so it can't be resampled to metres; "
            "give it its CRS and transform with gdal_edit.py, or leave out --resample"
        )
    if resample != "trained":
        wanted_m = float(resample)
    elif contract.gsd_m is not None:
        wanted_m = nearest_m(found_m, contract.gsd_m)
    else:
        raise UsageError("the model does not say which pixel sizes it learned from; give one: --resample METRES")
    factor = wanted_m / found_m
    if math.isclose(factor, 1.0, rel_tol=1e-6):
        return found_m, 1.0
    return wanted_m, factor
