"""Facts of one sample, measured on its decoded pixels: values, holes, labels, place, and keypoints of small images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.ground.ground_sampling import ground_sampling_m
from kda_edge.manifest import InputContract

from ..data.crops import CACHED_IMAGE_PX, read_labelled
from ..data.data_file import Scaling, check_sample
from ..data.image_files import open_raster
from ..data.labels import BACKGROUND, LANDSLIDE
from ..data.sources import Sample
from .keypoints import Keypoints, keypoints_of

STRIP_PX: Final = 1024  # rows of a scene that are decoded at a time


@dataclass(frozen=True)
class Footprint:
    """The rectangle that a sample covers in its CRS.

    Attributes:
        crs: as WKT.
        bounds_xyxy: least x and y, largest x and y, in units of the CRS; of a turned image what encloses it.
    """

    crs: str
    bounds_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class SampleFacts:
    """What a sample holds.

    Attributes:
        height_px: rows.
        width_px: columns.
        pixel_type: NumPy's name of the data type.
        bands: channels of the file.
        gsd_m: ground sampling distance, metres; None where the file does not tell.
        valid_px: pixels that hold data in all chosen bands.
        non_finite_px: pixels of which a chosen band is NaN or infinite; they are not valid.
        beyond_px: valid pixels of which a chosen band leaves the declared range.
        low: least value of each chosen band over the valid pixels; NaN where there are none.
        high: largest value, likewise.
        background_px: judged pixels without landslide.
        landslide_px: judged pixels with landslide.
        scaling: scale and offset of each chosen band.
        footprint: None where the file does not tell.
        keypoints: None for a scene.
    """

    height_px: int
    width_px: int
    pixel_type: str
    bands: int
    gsd_m: float | None
    valid_px: int
    non_finite_px: int
    beyond_px: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    background_px: int
    landslide_px: int
    scaling: Scaling
    footprint: Footprint | None
    keypoints: Keypoints | None

    @property
    def is_flat(self) -> bool:
        """Whether every band holds one value only, or no data."""
        return self.valid_px == 0 or self.low == self.high


def examine(sample: Sample, contract: InputContract) -> SampleFacts:
    """Check a sample, decode it with its masks, and measure them; a scene by strips.

    Raises:
        DataError: damaged, or not as declared; the file is named.
    """
    scaling = check_sample(sample, contract)
    left, top, right, bottom = sample.window_ltrb
    small = sample.height_px * sample.width_px <= CACHED_IMAGE_PX
    rows = sample.height_px if small else STRIP_PX
    counts, keypoints = np.zeros(5, np.int64), None
    low, high = np.full(3, math.nan), np.full(3, math.nan)
    for first in range(top, bottom, rows):
        image, valid, labels = read_labelled(sample, contract, (left, first, right, min(first + rows, bottom)))
        counts += _counted(image, valid, labels, contract)
        if valid.any():
            inside = image[valid]
            low, high = np.fmin(low, inside.min(axis=0)), np.fmax(high, inside.max(axis=0))
        if small:
            keypoints = keypoints_of(image, valid)
    valid_px, non_finite_px, beyond_px, background_px, landslide_px = counts.tolist()
    pixel_type, bands, gsd_m, footprint = _header(sample)
    return SampleFacts(
        height_px=sample.height_px,
        width_px=sample.width_px,
        pixel_type=pixel_type,
        bands=bands,
        gsd_m=gsd_m,
        valid_px=valid_px,
        non_finite_px=non_finite_px,
        beyond_px=beyond_px,
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        background_px=background_px,
        landslide_px=landslide_px,
        scaling=scaling,
        footprint=footprint,
        keypoints=keypoints,
    )


def _counted(
    image: NDArray[Any], valid: NDArray[np.bool_], labels: NDArray[np.uint8], contract: InputContract
) -> NDArray[np.int64]:
    """Return valid, non-finite and out-of-range pixels, background and landslide of a strip."""
    least, largest = contract.value_range
    beyond = ((image < least) | (image > largest)).any(axis=2) & valid
    finite = np.isfinite(image).all(axis=2)
    each = (valid, ~finite, beyond, labels == BACKGROUND, labels == LANDSLIDE)
    return np.array([np.count_nonzero(one) for one in each], np.int64)


def _header(sample: Sample) -> tuple[str, int, float | None, Footprint | None]:
    left, top, right, bottom = sample.window_ltrb
    with open_raster(sample.image) as dataset:
        known = dataset.crs is not None and not dataset.transform.is_identity
        footprint = None
        if known:
            to = dataset.transform
            cols, rows = np.array([left, right, left, right]), np.array([top, top, bottom, bottom])
            x, y = to.a * cols + to.b * rows + to.c, to.d * cols + to.e * rows + to.f
            bounds_xyxy = float(x.min()), float(y.min()), float(x.max()), float(y.max())
            footprint = Footprint(dataset.crs.to_wkt(), bounds_xyxy)
        gsd_m = ground_sampling_m(dataset.crs, dataset.transform, *dataset.shape) if known else None
        return dataset.dtypes[sample.source.bands[0] - 1], dataset.count, gsd_m, footprint
