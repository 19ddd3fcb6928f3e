from __future__ import annotations

import math

import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from kda_edge.runtime.gsd import ground_sampling_m, gsd_note


@pytest.mark.parametrize(
    ("crs", "transform", "expected_m"),
    [
        ("EPSG:32647", Affine(0.5, 0, 1, 0, -0.5, 1), 0.5),
        ("EPSG:32647", Affine(0.4, 0, 1, 0, 0.9, 1), 0.6),
        ("EPSG:32647", Affine(0.3, 0.4, 1, 0.4, -0.3, 1), 0.5),
        ("EPSG:2263", Affine(10, 0, 1, 0, -10, 1), 3.048),  # US survey feet
        ("EPSG:4326", Affine(1e-4, 0, 30, 0, -1e-4, 60), 11.12 * math.sqrt(0.5)),
        ("EPSG:4326", Affine(1e-4, 0, 30, 0, -1e-4, 0), 11.12),
        (None, Affine(1e-4, 0, 30, 0, -1e-4, 0), None),
        ("EPSG:4326", None, None),
    ],
    ids=str,
)
def test_pixels_are_measured_in_metres_on_the_ground(
    crs: str | None, transform: Affine | None, expected_m: float | None
) -> None:
    found = ground_sampling_m(None if crs is None else CRS.from_string(crs), transform, 4, 4)
    assert found == (None if expected_m is None else pytest.approx(expected_m, rel=2e-3))


@pytest.mark.parametrize(("found_m", "noted"), [(0.1, True), (0.3, False), (1.0, False), (9.0, False), (25.0, True)])
def test_pixels_far_from_those_trained_on_are_noted(found_m: float, noted: bool) -> None:
    assert (gsd_note(found_m, (0.5, 10.0)) is not None) is noted


def test_nothing_is_noted_where_nobody_knows() -> None:
    assert gsd_note(None, (0.5, 10.0)) is None
    assert gsd_note(30.0, None) is None
