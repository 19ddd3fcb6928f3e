"""Crops are centred on landslide as often as they are told to be, in images as in scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from worlds import write_data_file, write_image

from kda_edge.train.data import crops as crops_module
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.crops import Crops
from kda_edge.train.data.data_file import DataRequest, load_data

STILL = Augmentation(rotate=False, flip=False, scale=(1, 1), colour=0)
SIDE_PX = 256
SLIDE = (slice(200, 206), slice(30, 37))  # one in a thousand of the pixels
# Crops of 32 px lie anywhere in (256 - 32)^2 places; 32 + 5 rows and 32 + 6 columns of them hold a part of it.
BY_CHANCE = 37 * 38 / 224**2


@pytest.fixture
def rare(tmp_path: Path) -> Path:
    """A data file of two images, each drawn 200 times: one with a small landslide, one without any."""
    rng, mask = np.random.default_rng(0), np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for name in ("bare", "slide"):
        if name == "slide":
            mask[SLIDE] = 1
        write_image(tmp_path / "d" / "images" / f"{name}.png", rng.integers(1, 255, (SIDE_PX, SIDE_PX, 3), np.uint8))
        write_image(tmp_path / "d" / "masks" / f"{name}.png", mask)
    text = '[[source]]\nname = "d"\nroot = "d"\nfractions = [1, 0, 0]\ndraws = 200\n'
    return write_data_file(tmp_path / "d.toml", text)


def holding(rare: Path, share: float | None) -> np.ndarray:
    """Whether each of the 400 crops holds landslide, the 200 of the bare image first."""
    data = load_data(DataRequest(rare, seed=0))
    crops = Crops(data.samples["train"], data.input, STILL, crop_px=32, seed=3, landslide_share=share)
    order = [0, 1] if data.samples["train"][0].image.stem == "bare" else [1, 0]
    found = np.asarray([bool((crops[item][1] == 1).any()) for item in range(len(crops))]).reshape(2, 200)
    return found[order]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_images_give_crops_with_their_landslide_as_often_as_told(rare: Path, share: float) -> None:
    bare, slide = holding(rare, share)
    expected = share + (1 - share) * BY_CHANCE
    assert not bare.any()
    assert slide.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 200) + 1e-9)


def test_by_default_crops_of_images_lie_anywhere(rare: Path) -> None:
    assert holding(rare, None)[1].mean() < 0.1


def test_an_image_too_large_to_be_kept_is_searched_as_a_scene_is(rare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_module, "CACHED_IMAGE_PX", 1000)
    monkeypatch.setattr(crops_module, "CELL_PX", 4)
    assert holding(rare, 1.0)[1].all()


def test_centred_crops_stay_inside_the_image_and_are_not_all_the_same(rare: Path) -> None:
    """A crop beyond the border would hold reflected landslide twice."""
    data = load_data(DataRequest(rare, seed=0))
    samples = [one for one in data.samples["train"] if one.image.stem == "slide"]
    crops = Crops(samples, data.input, STILL, crop_px=128, seed=0, landslide_share=1.0)
    counts = [int((crops[item][1] == 1).sum()) for item in range(60)]
    assert set(counts) == {42}
    assert len({crops[item][0].numpy().tobytes() for item in range(60)}) > 20


def test_scenes_take_the_share_in_place_of_their_half(rare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_module, "CELL_PX", 4)  # finer than this landslide
    rare.write_text(rare.read_text() + 'layout = "scenes"\n')
    assert holding(rare, 1.0)[1].mean() > 0.95
    assert 0.35 < holding(rare, None)[1].mean() < 0.65
    assert holding(rare, 0.0)[1].mean() < 0.1
