"""A map says how far the answers of its engine lie from a CPU's, of each engine that had a part in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from resumable_runs import sloped

from kda_edge.errors import Cancelled
from kda_edge.manifest import Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.runs.merge_shards import merge_shards
from kda_edge.runtime.runs.shards import Shard
from kda_edge.tiling.tile_answers import EngineFacts

TAG = "engine_parity"


@pytest.fixture
def path(tmp_path: Path, scene_at: Callable[..., Any]) -> Path:
    image = np.random.default_rng(3).integers(1, 256, (600, 40, 3), np.uint8)
    found: Path = scene_at(tmp_path / "s.tif", image).path
    return found


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Callable[[str], Segmenter]:
    """A segmenter on an engine that was measured with a driver; without one, on an engine that nobody measured."""

    def make(driver: str) -> Segmenter:
        measured = json.dumps({"depends_on": {"gpu_driver": driver}, "max_abs": 0.5}) if driver else ""
        return Segmenter(sloped, make_manifest(), EngineFacts("tensorrt", measured=measured))

    return make


def drivers(map_path: Path) -> list[str]:
    with rasterio.open(map_path) as dataset:
        text = dataset.tags().get(TAG, "[]")
    return [record["depends_on"]["gpu_driver"] for record in json.loads(text)]


def test_the_record_of_the_engine_is_in_the_map(segmenter: Callable[[str], Segmenter], path: Path) -> None:
    assert drivers(segmenter("560").predict_scene(path).map_path) == ["560"]


def test_a_map_of_an_engine_that_nobody_compared_has_no_such_tag(
    segmenter: Callable[[str], Segmenter], path: Path
) -> None:
    with rasterio.open(segmenter("").predict_scene(path).map_path) as dataset:
        assert TAG not in dataset.tags()


@pytest.mark.parametrize("after", ["560", "570"])
def test_a_map_whose_rows_were_made_before_and_after_a_change_of_driver_has_both_records(
    segmenter: Callable[[str], Segmenter], path: Path, after: str
) -> None:
    stop = threading.Event()
    with pytest.raises(Cancelled):
        segmenter("560").predict_scene(path, progress=lambda done, _: stop.set() if done > 20 else None, cancel=stop)
    result = segmenter(after).predict_scene(path)
    assert result.resumed_rows > 0
    assert drivers(result.map_path) == list(dict.fromkeys(["560", after]))


def test_a_map_of_shards_has_the_record_of_each_machine(
    segmenter: Callable[[str], Segmenter], path: Path, tmp_path: Path
) -> None:
    for number, driver in ((1, "560"), (2, "570"), (3, "560")):
        segmenter(driver).predict_shard(path, Shard(number, 3), tmp_path)
    merged = merge_shards(path, [tmp_path], tmp_path / "out")
    assert drivers(merged.map_path) == ["560", "570"]
