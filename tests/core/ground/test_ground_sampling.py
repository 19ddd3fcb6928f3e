from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import rasterio.warp
from rasterio.crs import CRS
from rasterio.transform import Affine

from kda_edge.errors import SceneError
from kda_edge.ground.ground_sampling import ground_sampling_m, gsd_note, nearest_m, pixel_sides_m, shape_note
from kda_edge.manifest import InputContract
from kda_edge.runtime.scenes.fits_model import require_ground_sampling

WGS84_A, E2 = 6_378_137.0, 0.00669437999014
HEIGHT, WIDTH = 300, 200
MOON = 'GEOGCS["Moon",DATUM["Moon",SPHEROID["Moon",1737400,0]],PRIMEM["Meridian",0],UNIT["degree",0.0174532925199433]]'


def centred_on(crs: str, lon: float, lat: float, pixel: Affine) -> tuple[CRS, Affine, int, int]:
    """A scene about a point, of pixels in units of its CRS: what `ground_sampling_m` takes."""
    system = CRS.from_user_input(crs)
    x, y = (values[0] for values in rasterio.warp.transform("EPSG:4326", system, [lon], [lat]))
    a, b, _, d, e, _ = pixel[:6]
    transform = Affine(a, b, x - (a * WIDTH + b * HEIGHT) / 2, d, e, y - (d * WIDTH + e * HEIGHT) / 2)
    return system, transform, HEIGHT, WIDTH


def square(side: float, *, turned: float = 0.0, height: float | None = None) -> Affine:
    """A pixel, its height another if asked for, turned by so many degrees."""
    sine, cosine = math.sin(math.radians(turned)), math.cos(math.radians(turned))
    height = side if height is None else height
    return Affine(side * cosine, height * sine, 0, side * sine, -height * cosine, 0)


@pytest.mark.parametrize(
    ("crs", "transform", "expected_m"),
    [
        ("EPSG:32647", Affine(0.5, 0, 5e5, 0, -0.5, 3e6), 0.5),
        ("EPSG:32647", Affine(0.4, 0, 5e5, 0, 0.9, 3e6), 0.6),
        ("EPSG:32647", Affine(0.3, 0.4, 2e5, 0.4, -0.3, 3e6), 0.5),
        ("EPSG:2193", Affine(0.03, 0, 1.57e6, 0, -0.03, 5.18e6), 0.03),
        ("EPSG:2263", Affine(10, 0, 9.8e5, 0, -10, 2e5), 3.0480060960121924),  # US survey feet
        ("EPSG:32647", Affine(0.5, 0, 1, 0, -0.5, 1), 0.5),  # far outside of its zone, and never defined there
        (None, Affine(1e-4, 0, 30, 0, -1e-4, 0), None),
        ("EPSG:4326", None, None),
        ("EPSG:4326", Affine(0.5, 0, 5e5, 0, -0.5, 3e6), None),  # off the Earth
        ('LOCAL_CS["site",UNIT["metre",1]]', Affine(0.2, 0, 7, 0, -0.2, 7), 0.2),
        ('LOCAL_CS["site",UNIT["foot",0.3048]]', Affine(0, 2, 7, 2, 0, 7), 0.6096),
        (
            'COMPD_CS["mine",LOCAL_CS["site",UNIT["metre",1]],VERT_CS["h",VERT_DATUM["d",2005],UNIT["metre",1]]]',
            square(3),
            3.0,
        ),
        ('LOCAL_CS["site",UNIT["unknown",1]]', square(3), None),
        ('LOCAL_CS["site",UNIT["degree",0.0174532925199433]]', square(3), None),
        ("EPSG:4978", square(3), None),  # geocentric
        ("EPSG:5773", square(3), None),  # heights
        (MOON, square(1e-3), None),  # degrees, and nobody says how long one is there
        (f'PROJCS["Moon",{MOON},PROJECTION["Equirectangular"],UNIT["metre",1]]', square(5), 5.0),
    ],
    ids=str,
)
def test_a_crss_own_metres_count_where_they_are_true_or_all_that_is_known(
    crs: str | None, transform: Affine | None, expected_m: float | None
) -> None:
    """To the last bit: what was resampled in UTM before keeps its bytes."""
    found = ground_sampling_m(None if crs is None else CRS.from_user_input(crs), transform, HEIGHT, WIDTH)
    assert found == (None if expected_m is None else pytest.approx(expected_m, rel=1e-15))


@pytest.mark.parametrize("turned", [0.0, 30.0, 90.0])
@pytest.mark.parametrize("lat", [-75.0, -33.0, 12.0, 45.0, 68.0, 80.0])
@pytest.mark.parametrize("side", [0.03, 30.0])
def test_a_pixel_in_web_mercator_is_smaller_by_the_cosine_of_its_latitude(
    side: float, lat: float, turned: float
) -> None:
    place = centred_on("EPSG:3857", 20.0, lat, square(side, turned=turned))
    expected_m = side * math.cos(math.radians(lat))
    assert ground_sampling_m(*place) == pytest.approx(expected_m, rel=5e-3)
    assert pixel_sides_m(*place) == pytest.approx((expected_m, expected_m), rel=7e-3)


@pytest.mark.parametrize("lat", [-70.0, 0.0, 22.5, 60.0])
def test_a_pixel_in_degrees_is_measured_on_the_ellipsoid_both_ways(lat: float) -> None:
    """By the radii of curvature along the meridian and across it."""
    sine = math.sin(math.radians(lat))
    along = WGS84_A * (1 - E2) / (1 - E2 * sine**2) ** 1.5
    across = WGS84_A / math.sqrt(1 - E2 * sine**2) * math.cos(math.radians(lat))
    north_m, east_m = (radius * math.radians(1e-4) for radius in (along, across))
    place = centred_on("EPSG:4326", 30.0, lat, square(1e-4))
    assert ground_sampling_m(*place) == pytest.approx(math.sqrt(north_m * east_m), rel=1e-7)
    assert pixel_sides_m(*place) == pytest.approx((max(north_m, east_m), min(north_m, east_m)), rel=1e-7)
    grads = centred_on("EPSG:4807", 2.0, 47.0, square(1e-4))
    assert ground_sampling_m(*grads) == pytest.approx(
        0.9 * ground_sampling_m(*centred_on("EPSG:4326", 2, 47, square(1e-4))), rel=1e-4
    )


@pytest.mark.parametrize(("lat", "lon"), [(62.0, 10.0), (89.9999, 10.0), (90.0, 0.0)])
def test_a_pixel_in_a_polar_projection_is_as_large_as_the_scale_there_says(lat: float, lon: float) -> None:
    """Stereographic, true at 71 degrees; the sphere's formula for its scale."""
    scale = (1 + math.sin(math.radians(71))) / (1 + math.sin(math.radians(lat)))
    place = centred_on("EPSG:3995", lon, lat, square(30.0))
    assert ground_sampling_m(*place) == pytest.approx(30.0 / scale, rel=5e-3)


def test_far_from_its_meridian_a_transverse_mercators_metres_are_not_true() -> None:
    """On the sphere its scale is that of the meridian over the cosine of the distance from it."""
    scale = 0.9996 / math.cos(math.asin(math.cos(math.radians(30)) * math.sin(math.radians(13))))
    assert ground_sampling_m(*centred_on("EPSG:32647", 112.0, 30.0, square(0.5))) == pytest.approx(
        0.5 / scale, rel=1e-3
    )


@pytest.mark.parametrize(
    ("crs", "lat", "pixel", "sides"),
    [
        ("EPSG:32647", 30.0, square(2.0), None),
        ("EPSG:32647", 30.0, square(2, height=2.9), None),
        ("EPSG:32647", 30.0, square(2, height=3.1), "3.1 m by 2 m"),
        ("EPSG:32647", 30.0, square(3.1, height=2, turned=40), "3.1 m by 2 m"),
        ("EPSG:32647", 30.0, Affine(1, 1, 0, 0, 1, 0), "1.62 m by 0.618 m"),
        ("EPSG:4326", 45.0, square(1e-5), None),
        ("EPSG:4326", 60.0, square(1e-5), "1.11 m by 0.558 m"),
        ("EPSG:3857", 75.0, square(10), None),
    ],
)
def test_pixels_far_from_square_on_the_ground_are_noted(crs: str, lat: float, pixel: Affine, sides: str | None) -> None:
    note = shape_note(pixel_sides_m(*centred_on(crs, 99.0, lat, pixel)))
    assert note is None if sides is None else str(note).startswith(f"a pixel is {sides} on the ground")
    assert shape_note(None) is None


@pytest.mark.parametrize(
    ("found_m", "noted", "refused"),
    [
        (0.124, True, True),
        (0.126, True, False),
        (0.24, True, False),
        (0.3, False, False),
        (9.0, False, False),
        (20.1, True, False),
        (39.9, True, False),
        (40.1, True, True),
    ],
)
def test_pixels_far_from_those_trained_on_are_noted_and_very_far_ones_refused(
    found_m: float, noted: bool, refused: bool
) -> None:
    contract = InputContract(gsd_m=(0.5, 10.0))
    assert (gsd_note(found_m, contract.gsd_m) is not None) is noted
    with pytest.raises(SceneError, match=r"--resample.*--any-gsd") if refused else nullcontext():
        require_ground_sampling(Path("s.tif"), found_m, contract, any_gsd=False)
    require_ground_sampling(Path("s.tif"), found_m, contract, any_gsd=True)


def test_a_scene_of_unknown_pixel_size_passes_with_a_note_where_the_model_knows_its_own() -> None:
    contract = InputContract(gsd_m=(0.5, 10.0))
    require_ground_sampling(Path("s.tif"), None, contract, any_gsd=False)
    assert "nobody knows how many metres" in str(gsd_note(None, contract.gsd_m))
    assert gsd_note(None, None) is None
    assert gsd_note(30.0, None) is None
    require_ground_sampling(Path("s.tif"), 30.0, InputContract(), any_gsd=False)


@pytest.mark.parametrize(("found_m", "nearest"), [(0.1, 0.5), (0.5, 0.5), (3.0, 3.0), (10.0, 10.0), (11.0, 10.0)])
def test_the_nearest_size_trained_on_is_the_scenes_own_or_an_end_of_the_range(found_m: float, nearest: float) -> None:
    assert nearest_m(found_m, (0.5, 10.0)) == nearest
