"""Where a raster lies is told for all of it or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from kda_edge.ground.ground import Ground, NoGround, locate


def placed(crs: str, transform: Affine, side_px: int = 100) -> SimpleNamespace:
    return SimpleNamespace(crs=CRS.from_string(crs), transform=transform, width_px=side_px, height_px=side_px)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("+proj=ortho +lat_0=0 +lon_0=0 +datum=WGS84", Affine(140e3, 0, -7e6, 0, -140e3, 7e6)),
        ("EPSG:4326", Affine(0.1, 0, 20, 0, -0.1, 95)),
        ("EPSG:4326", Affine(0.1, 0, 20, 0, 0.1, -95)),
    ],
    ids=["corners off the Earth", "rows beyond the north pole", "rows beyond the south pole"],
)
def test_a_raster_whose_middle_alone_lies_on_earth_has_no_ground(crs: str, transform: Affine) -> None:
    found = locate(placed(crs, transform))
    assert isinstance(found, NoGround)
    assert "no way to longitude and latitude" in found.reason


@pytest.mark.parametrize("lat", [90.0, -80.0])
def test_a_raster_up_to_the_pole_has_ground(lat: float) -> None:
    assert isinstance(locate(placed("EPSG:4326", Affine(0.1, 0, 20, 0, -0.1, lat))), Ground)
