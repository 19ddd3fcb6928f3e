"""Crops of imagery without masks: the same pixels, from all over its data, and never judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import write_data_file, write_image

from kda_edge.train.data import crops as crops_module
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.crops import Crops, read_labelled
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.data.unlabelled import load_images

STILL = Augmentation(rotate=False, flip=False, scale=(1, 1), colour=0)


def test_crops_without_a_mask_are_the_same_pixels_and_never_judged(folders: Path) -> None:
    labelled, images = load_data(DataRequest(folders, seed=0)), load_images(DataRequest(folders, seed=0))
    augmentation = Augmentation()
    with_masks = Crops(labelled.samples["train"], labelled.input, augmentation, crop_px=64, seed=0)
    without = Crops(images.samples["train"], images.input, augmentation, crop_px=64, seed=0)
    assert len(without) == len(with_masks)
    for item in range(len(without)):
        pixels, labels = without[item]
        assert torch.equal(pixels, with_masks[item][0])
        assert labels.dtype == torch.uint8
        assert (labels == 255).all()


def test_crops_of_a_scene_lie_all_over_its_data_and_not_beyond(tmp_path: Path) -> None:
    """Pixel values tell where a crop comes from: half of the scene holds data, row and column in red and green."""
    rows, cols = np.mgrid[:160, :192].astype(np.uint8)
    image = np.dstack([rows + 1, cols + 1, np.full_like(rows, 200)])
    image[:, :96] = 0
    path = write_image(tmp_path / "d" / "a.tif", image, nodata=0)
    described = write_data_file(
        tmp_path / "d.toml",
        '[input]\nmean = [0, 0, 0]\nstd = [1, 1, 1]\n[[source]]\nname = "d"\nroot = "d"\nimages = "a.tif"\nmasks = ""\n'
        'layout = "scenes"\ndraws = 60\n',
    )
    data = load_images(DataRequest(described, seed=0))
    (sample,) = data.samples["train"]
    landslide, valid = crops_module._interesting_cells(sample, data.input)
    assert len(landslide) == 0
    assert {tuple(cell) for cell in valid.tolist()} == {(row, col) for row in range(10) for col in range(6, 12)}
    crops = Crops(data.samples["train"], data.input, STILL, crop_px=32, seed=0)
    centres = np.array([crops[item][0][:2, 16, 16].numpy() for item in range(len(crops))]) - 1
    assert centres[:, 1].min() >= 95
    assert np.ptp(centres[:, 0]) > 100
    assert np.ptp(centres[:, 1]) > 60
    _, valid_pixels, labels = read_labelled(sample, data.input, (80, 0, 112, 32))
    assert path.is_file()
    assert (valid_pixels == (np.arange(80, 112) >= 96)).all()
    assert (labels == 255).all()


@pytest.mark.parametrize("layout", ["folders", "scenes"])
@pytest.mark.parametrize("pixel_type", ["uint8", "float32"])
def test_a_crop_without_any_data_is_finite_and_constant(tmp_path: Path, layout: str, pixel_type: str) -> None:
    """Tiles cut from an orthophoto's edge are often empty. One colour teaches nothing, and spoils nothing."""
    nodata = 0 if pixel_type == "uint8" else np.nan
    write_image(tmp_path / "d" / "a.tif", np.full((70, 70, 3), nodata, pixel_type), nodata=nodata)
    described = write_data_file(
        tmp_path / "d.toml",
        f'[input]\npixel_type = "{pixel_type}"\nmean = [1, 1, 1]\n'
        f'[[source]]\nname = "d"\nroot = "d"\nimages = "a.tif"\nmasks = ""\nlayout = "{layout}"\n',
    )
    data = load_images(DataRequest(described, seed=0))
    pixels, labels = Crops(data.samples["train"], data.input, Augmentation(), crop_px=64, seed=0)[0]
    assert torch.isfinite(pixels).all()
    assert (pixels == pixels[:, :1, :1]).all()
    assert (labels == 255).all()
