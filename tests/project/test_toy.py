"""The toy run of the training page has what it needs: parts of the bundled scene, none of them in two splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import rasterio
from places import ROOT
from worlds import write_image

from kda_edge.train.data.data_file import DataRequest, load_data


def test_the_splits_of_the_toy_cover_the_scene_once(tmp_path: Path) -> None:
    scene = tmp_path / "toy" / "images" / "example_scene.tif"
    scene.parent.mkdir(parents=True)
    shutil.copy(ROOT / "runtime" / "bundled" / "example_scene.tif", scene)
    with rasterio.open(scene) as opened:
        shape = opened.shape
    write_image(tmp_path / "toy" / "masks" / "example_scene.tif", np.zeros(shape, np.uint8))
    data = load_data(DataRequest(ROOT / "docs" / "toy.toml", seed=0, root=tmp_path))
    covered = np.zeros(shape, int)
    for (sample,) in data.samples.values():
        left, top, right, bottom = sample.window_ltrb
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()
