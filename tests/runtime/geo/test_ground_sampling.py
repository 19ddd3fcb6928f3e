from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from kda_edge.errors import SceneError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.ground_sampling import ground_sampling_m, gsd_note, nearest_m
from kda_edge.runtime.scenes.fits_model import require_ground_sampling


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
