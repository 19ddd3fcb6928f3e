from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from places import SHARED

from kda_edge.runtime import Segmenter

DATA = SHARED / "data"


@pytest.mark.parametrize("name", ["jinsha_ortho/images/scene_A.tif", "s2_chattogram/s2_rgb_uint8.tif"])
def test_the_map_of_a_real_scene_lies_where_the_scene_lies(
    name: str, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    """Tiling rules 11 and 17: CRS, transform and valid mask are the scene's; areas of raster and polygons agree."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {name} of the shared data folder beside the project")
    with Segmenter.open(make_model(1 / 255, 0.0, tile_px=512, threshold=0.9)) as segmenter:
        result = segmenter.predict_scene(path, tmp_path)
    with rasterio.open(path) as scene, rasterio.open(result.map_path) as landslides:
        assert tuple(landslides.transform) == tuple(scene.transform)
        assert landslides.crs.to_wkt() == scene.crs.to_wkt()
        image = scene.read()
        valid = (image != scene.nodata).all(axis=0)
        partly_px = int(((image != scene.nodata).any(axis=0) & ~valid).sum())
        np.testing.assert_array_equal(landslides.dataset_mask() > 0, valid)
        classes, probability, qa = landslides.read()
    red = image[0]
    np.testing.assert_array_equal(classes, np.where(valid, red / np.float32(255) >= np.float32(0.9), 255))
    np.testing.assert_array_equal(probability, np.where(valid, np.rint(red / np.float32(255) * np.float32(254)), 255))
    np.testing.assert_array_equal(qa & 1, ~valid)
    assert len(result.notes) == (partly_px > 0)
    assert all(note.startswith(f"{partly_px} px of the scene have data in one or two") for note in result.notes)
    features = json.loads(result.polygons_path.read_text())["features"]
    assert len(features) == result.polygons > 0
    assert sum(feature["properties"]["area_px"] for feature in features) == result.landslide_px == (classes == 1).sum()
    assert sum(feature["properties"]["area_m2"] for feature in features) == pytest.approx(result.area_m2, rel=1e-6)
