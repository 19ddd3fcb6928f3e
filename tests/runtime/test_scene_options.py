"""Options of a scene: checked once, wherever they come from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, Segmenter, Shard, merge_shards
from kda_edge.runtime.polygons.polygon_writer import FORMATS
from kda_edge.runtime.scene_options import POLYGON_FORMATS


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Segmenter:
    return Segmenter(identity, make_manifest())


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"min_area": -1}, "the least area must be 0 or more, not -1"),
        ({"min_area": math.nan}, "the least area must be 0 or more, not nan"),
        ({"min_area": math.inf}, "the least area must be 0 or more, not inf"),
        ({"polygons": "shp"}, "polygons are written as geojson or gpkg, not 'shp'"),
        ({"value_range": (5, 5)}, "the value range 5 5 is empty; give the least, then the largest value"),
        ({"value_range": (0, math.nan)}, "the value range 0 nan is empty"),
        ({"value_range": (0, 1e31)}, "the value range 0 1e+31 is empty"),
        ({"resample": 0}, "--resample takes metres above 0, not 0"),
        ({"resample": math.inf}, "--resample takes metres above 0, not inf"),
    ],
    ids=str,
)
def test_an_option_that_can_not_be_right_is_refused_before_there_is_a_scene(option: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        SceneOptions(**option)
    assert str(caught.value).startswith(words)


def test_polygons_have_the_formats_that_can_be_written() -> None:
    assert {f".{name}" for name in POLYGON_FORMATS} == set(FORMATS)
    with pytest.raises(UsageError, match="geojson or gpkg"):
        merge_shards("s.tif", ["nowhere"], polygons="shp")


@pytest.mark.parametrize("option", [{"min_area": 3.0}, {"polygons": "gpkg"}], ids=str)
def test_a_shard_is_asked_for_nothing_about_polygons(
    segmenter: Segmenter, scene: Any, leftovers: Callable[[], list[str]], option: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="a shard has no polygons yet; give --min-area and --polygons"):
        segmenter.predict_shard(scene.path, Shard(1, 2), options=SceneOptions(**option))
    assert leftovers() == []


def test_keywords_of_before_are_the_options_and_the_line_that_gives_them_is_warned_of(
    segmenter: Segmenter, scene: Any, tmp_path: Path
) -> None:
    options = SceneOptions(overlap_px=0, min_area=2.0)
    expected = segmenter.predict_scene(scene.path, tmp_path / "a", options)
    with pytest.warns(DeprecationWarning, match=r"SceneOptions\(overlap_px=0, min_area=2\.0\)") as told:
        found = segmenter.predict_scene(scene.path, tmp_path / "b", overlap_px=0, min_area=2.0)
    assert told[0].filename == __file__
    assert found.polygons_path.read_bytes() == expected.polygons_path.read_bytes()
    with pytest.warns(DeprecationWarning, match="overlap_px=0"):
        shard = segmenter.predict_shard(scene.path, Shard(1, 1), tmp_path, overlap_px=0)
    assert shard.tiles == found.tiles
    with pytest.raises(TypeError, match="overlap"):
        segmenter.predict_scene(scene.path, overlap=0)


def test_options_are_given_by_name_and_stay_as_they_are() -> None:
    with pytest.raises(TypeError):
        SceneOptions((1, 2, 3))  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        SceneOptions().strict = True  # type: ignore[misc]
