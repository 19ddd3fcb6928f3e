"""Positions of a raster's pixels on the WGS84 ellipsoid, and the ground area that they cover."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import rasterio.warp
from rasterio.crs import CRS
from rasterio.errors import CRSError

from kda_edge.errors import SceneError
from kda_edge.gdal_setup import set_up_gdal
from kda_edge.rasters.gdal_messages import GDAL_ERRORS, one_line

Floats = npt.NDArray[np.float64]

_OUTLINE_SAMPLES: Final = 65  # per side of the raster; enough to follow a scene that spans half a hemisphere
_CHUNK: Final = 65_536  # points a call: rasterio makes Python lists of them, about 200 bytes a point


class Placed(Protocol):
    """What says where pixels lie; a `Scene` does."""

    @property
    def height_px(self) -> int:
        """Rows."""
        ...

    @property
    def width_px(self) -> int:
        """Columns."""
        ...

    @property
    def crs(self) -> Any:
        """The CRS; None where there is none."""
        ...

    @property
    def transform(self) -> Any:
        """Affine, from (column, row) to the CRS; None, or the identity, where there is none."""
        ...


@dataclass(frozen=True)
class Frame:
    """A raster's size and place, without its file; see `Placed`."""

    height_px: int
    width_px: int
    crs: Any = None
    transform: Any = None

    @classmethod
    def of(cls, dataset: Any) -> Frame:
        """Return the frame of an open dataset of rasterio's."""
        return cls(dataset.height, dataset.width, dataset.crs, dataset.transform)


@dataclass(frozen=True)
class NoGround:
    """Pixels have no longitude and latitude, or outlines that can't be drawn in them.

    Attributes:
        reason: why, as half a sentence.
        pixel_m2: area of a pixel in the CRS's own metres, where these are all that is known: a site's grid, the Moon.
        around_pole: where the pixels lie, for areas, of a raster that surrounds a pole.
    """

    reason: str
    pixel_m2: float | None = None
    around_pole: Ground | None = None


@dataclass(frozen=True)
class Ground:
    """The way from pixel corners (column, row) to longitude and latitude, and on to an equal-area plane.

    The plane is the ellipsoidal Lambert azimuthal equal-area projection about the raster's centre: areas on it are
    areas on the ellipsoid, whatever the latitude, across the antimeridian and at the poles.

    Attributes:
        transform: affine, from (column, row) to the coordinates of `crs`.
        crs: the raster's own.
        plane: the equal-area projection, metres.
    """

    transform: Any
    crs: CRS
    plane: CRS

    def lonlat(self, colrow: npt.NDArray[Any]) -> Floats:
        """Return the longitude and latitude, degrees, shape (2, N), of pixel positions, shape (2, N).

        Raises:
            SceneError: a position has no longitude and latitude in this CRS.
        """
        return _lonlat(self.transform, self.crs, colrow)

    def metres(self, lonlat: Floats) -> Floats:
        """Return positions on the equal-area plane, metres, shape (2, N), of longitudes and latitudes, degrees."""
        return _transformed(_wgs84(), self.plane, lonlat[0], lonlat[1])

    def step_m(self, colrow: tuple[float, float]) -> Floats:
        """Return metres east and north (rows) of one step along a row and one along a column (columns), shape (2, 2).

        Args:
            colrow: where the steps are centred; east and north hold near the raster's centre.
        """
        col, row = colrow
        x, y = self.metres(self.lonlat(np.array([[col - 0.5, col + 0.5, col, col], [row, row, row - 0.5, row + 0.5]])))
        return np.array([[x[1] - x[0], x[3] - x[2]], [y[1] - y[0], y[3] - y[2]]])


def locate(placed: Placed) -> Ground | NoGround:
    """Tell where a raster lies, or why nobody can know.

    The outline and the centre are tried: where one of their points has no longitude and latitude, or where the raster
    surrounds a pole, so that its outlines can't be drawn in longitude and latitude, there is no ground.
    """
    crs, transform = placed.crs, placed.transform
    if crs is None:
        return NoGround("the scene has no CRS")
    if transform is None or transform.is_identity:
        return NoGround("the scene has a CRS and no transform")
    steps = np.linspace(0.0, 1.0, _OUTLINE_SAMPLES)
    cols = np.concatenate([steps, np.ones_like(steps), steps[::-1], np.zeros_like(steps)]) * placed.width_px
    rows = np.concatenate([np.zeros_like(steps), steps, np.ones_like(steps), steps[::-1]]) * placed.height_px
    ground = ground_at_centre(placed)
    try:
        outline = None if ground is None else continuous(ground.lonlat(np.stack([cols, rows])))
    except SceneError:
        outline = None
    if ground is None or outline is None:
        metres = metres_per_unit(crs) if ground is None else None
        pixel_m2 = None if metres is None else abs(float(transform.determinant)) * metres**2
        return NoGround("the scene's CRS has no way to longitude and latitude there", pixel_m2)
    if abs(outline[0, -1] - outline[0, 0]) > 180:
        return NoGround("the scene surrounds a pole", around_pole=ground)
    return ground


def ground_at_centre(placed: Placed) -> Ground | None:
    """Return where the pixels about a raster's centre lie; None where nobody knows.

    A CRS that is neither projected nor geographic (a site's grid, heights, a geocentric one) has no way to longitude
    and latitude, whatever a library makes of it; one of another celestial body has none on Earth.
    """
    crs, transform = placed.crs, placed.transform
    if crs is None or transform is None or not (crs.is_projected or crs.is_geographic):
        return None
    centre = (placed.width_px / 2, placed.height_px / 2)
    try:
        lon, lat = _lonlat(transform, crs, np.array(centre)[:, None])[:, 0].tolist()
        plane = CRS.from_dict(proj="laea", lon_0=lon, lat_0=lat, datum="WGS84", units="m")
        ground = Ground(transform, crs, plane)
        step_m = ground.step_m(centre)
    except SceneError:
        return None
    # Coordinates so large that neighbouring pixels have the same ones tell of no ground.
    return ground if np.isfinite(step_m).all() and np.linalg.det(step_m) != 0 else None


def metres_per_unit(crs: CRS) -> float | None:
    """Return the metres of one unit of a CRS whose coordinates are lengths on a plane; None for all others."""
    try:
        if crs.is_projected:
            return float(crs.linear_units_factor[1])
        system = crs.to_dict(projjson=True)
    except CRSError:
        return None
    if system.get("type") == "CompoundCRS":
        system = system["components"][0]
    if system.get("type") != "EngineeringCRS" or system["coordinate_system"]["subtype"] != "Cartesian":
        return None
    unit = system["coordinate_system"]["axis"][0]["unit"]
    if unit == "metre":
        return 1.0
    if not isinstance(unit, dict) or unit.get("type") != "LinearUnit" or unit.get("name") == "unknown":
        return None
    return float(unit["conversion_factor"]) or None


@functools.cache
def _wgs84() -> CRS:
    """Return the CRS of longitude and latitude; made when it is needed, as that asks PROJ's data."""
    set_up_gdal()
    return CRS.from_epsg(4326)


def continuous(lonlat: Floats) -> Floats:
    """Return a line, shape (2, N), with whole turns added so that no step jumps across the antimeridian."""
    steps = np.diff(lonlat[0])
    turns = np.concatenate([[0.0], np.cumsum(np.round(steps / 360.0))])
    return np.stack([lonlat[0] - 360.0 * turns, lonlat[1]])


def _lonlat(transform: Any, crs: CRS, colrow: npt.NDArray[Any]) -> Floats:
    col, row = np.asarray(colrow, np.float64)
    x = transform.a * col + transform.b * row + transform.c
    y = transform.d * col + transform.e * row + transform.f
    try:
        lonlat = _transformed(crs, _wgs84(), x, y)
    except GDAL_ERRORS as error:
        raise SceneError(
            f"the scene's CRS has no way to longitude and latitude here ({one_line(error)}); reproject it with gdalwarp"
        ) from error
    if not (np.isfinite(lonlat).all() and (np.abs(lonlat[1]) <= 90.0).all()):
        raise SceneError("the scene leaves the part of the Earth where its CRS is defined; check its CRS and transform")
    return lonlat


def _transformed(source: CRS, target: CRS, x: Floats, y: Floats) -> Floats:
    result = np.empty((2, len(x)))
    for first in range(0, len(x), _CHUNK):
        part = slice(first, first + _CHUNK)  # as lists: rasterio takes numbers out of arrays more slowly
        result[:, part] = rasterio.warp.transform(source, target, x[part].tolist(), y[part].tolist())
    return result
