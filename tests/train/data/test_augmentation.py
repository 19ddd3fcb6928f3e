"""Crops: exact geometry, labels that stay with their pixels, and nothing that depends on order or workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from kda_edge.train.data.augmentation import Augmentation, Warp, jitter_colour, random_warp
from kda_edge.train.data.crops import Crops, draws
from kda_edge.train.data.data_file import DataRequest, load_data

STILL = Augmentation(rotate=False, flip=False, scale=(1, 1), colour=0)


def test_a_crop_without_variation_is_the_pixels_themselves() -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)
    warp = Warp((30.0, 25.0), np.eye(2), 32)
    for origin in ((0, 0), (5, 3)):
        window = image[origin[1] :, origin[0] :]
        np.testing.assert_array_equal(warp.apply(window, origin, nearest=False), image[9:41, 14:46])


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.array([[-1.0, 0], [0, 1]]), lambda a: a[:, ::-1]),
        (np.array([[1.0, 0], [0, -1]]), lambda a: a[::-1]),
        (np.array([[0.0, -1], [1, 0]]), np.rot90),
    ],
    ids=["mirror x", "mirror y", "quarter turn"],
)
def test_mirrors_and_quarter_turns_are_exact(matrix: np.ndarray, expected: object) -> None:
    image = np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8)
    assert callable(expected)
    np.testing.assert_array_equal(Warp((16.0, 16.0), matrix, 32).apply(image, (0, 0), nearest=False), expected(image))


def test_beyond_the_border_a_crop_is_reflected_as_the_runtime_pads() -> None:
    image = np.random.default_rng(2).integers(0, 255, (20, 24, 3), np.uint8)
    crop = Warp((32.0, 32.0), np.eye(2), 64).apply(image, (0, 0), nearest=True)
    np.testing.assert_array_equal(crop, np.pad(image, ((0, 44), (0, 40), (0, 0)), mode="reflect"))


def test_the_window_that_is_read_holds_all_that_the_crop_touches() -> None:
    """Beyond the reach, pixels may be anything: the crop does not change."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        warp = random_warp(rng, Augmentation(scale=(0.5, 2)), (200.3, 190.8), 64)
        image = rng.integers(0, 255, (400, 400, 3), np.uint8)
        x, y, reach = int(warp.centre_xy[0]), int(warp.centre_xy[1]), warp.reach_px
        window = image[y - reach : y + reach, x - reach : x + reach]
        whole = warp.apply(image, (0, 0), nearest=False)
        part = warp.apply(window, (x - reach, y - reach), nearest=False)
        assert np.abs(whole.astype(int) - part.astype(int)).max() <= 1  # OpenCV rounds positions to 1/32 px


def test_the_scale_of_a_warp_lies_in_its_range_and_lengths_are_kept() -> None:
    rng = np.random.default_rng(4)
    factors = [
        1 / np.sqrt(abs(np.linalg.det(random_warp(rng, Augmentation(scale=(0.5, 2)), (0, 0), 8).matrix)))
        for _ in range(500)
    ]
    assert min(factors) >= 0.5 - 1e-9
    assert max(factors) <= 2 + 1e-9
    assert np.median(factors) == pytest.approx(1, abs=0.1)


def test_labels_stay_with_their_pixels(folders: Path) -> None:
    """Scars are bright, so the mean brightness of labelled pixels tells whether a label has slipped."""
    data = load_data(DataRequest(folders, seed=0))
    crops = Crops(data.samples["train"], data.input, Augmentation(scale=(0.7, 1.5), colour=0), crop_px=64, seed=0)
    for item in range(len(crops)):
        image, labels = crops[item]
        red = image[0].numpy()
        inside, outside = red[labels.numpy() == 1], red[labels.numpy() == 0]
        assert inside.mean() - outside.mean() > 1.5
        assert set(np.unique(labels.numpy())) <= {0, 1, 255}


def test_crops_are_normalised_as_the_contract_says(folders: Path) -> None:
    data = load_data(DataRequest(folders, seed=0))
    crops = Crops(data.samples["train"], data.input, STILL, crop_px=32, seed=0)
    image, _ = crops[0]
    raw = image.numpy() * np.array(data.input.std)[:, None, None] + np.array(data.input.mean)[:, None, None]
    assert np.abs(raw - np.rint(raw)).max() < 1e-3
    assert raw.min() >= 0
    assert raw.max() <= 255


def test_crops_are_the_same_for_any_number_of_workers_and_differ_between_epochs(folders: Path) -> None:
    data = load_data(DataRequest(folders, seed=0))
    crops = Crops(data.samples["train"], data.input, Augmentation(), crop_px=32, seed=5)
    one = [image for image, _ in DataLoader(crops, batch_sampler=[[0, 1, 2], [3, 4]], num_workers=0)]
    other = [image for image, _ in DataLoader(crops, batch_sampler=[[0, 1, 2], [3, 4]], num_workers=1)]
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    order = crops.order()
    crops.epoch = 1
    assert not (crops[0][0] == one[0][0]).all()
    assert crops.order() != order
    assert sorted(crops.order()) == sorted(order) == list(range(len(crops)))


def test_scene_crops_lie_on_landslide_half_of_the_time_and_ignore_what_is_not_valid(
    scene: Path, tmp_path: Path
) -> None:
    (tmp_path / "d.toml").write_text(
        '[[source]]\nname = "o"\nroot = "ortho"\nlayout = "scenes"\nvalid = "valid"\nmask_landslide = [1]\n'
        'train = ["a"]\ndraws = 100\n'
    )
    data = load_data(DataRequest(tmp_path / "d.toml", seed=0))
    crops = Crops(data.samples["train"], data.input, STILL, crop_px=32, seed=0)
    assert len(crops) == 100
    seen = [crops[i][1].numpy() for i in range(100)]
    with_landslide = sum((labels == 1).any() for labels in seen)
    assert 50 <= with_landslide <= 95
    assert any((labels == 255).any() for labels in seen)
    assert all((labels != 255).any() for labels in seen)


def test_a_scene_is_drawn_from_as_often_as_crops_tile_it(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "d.toml").write_text(
        '[[source]]\nname = "o"\nroot = "ortho"\nlayout = "scenes"\nmask_landslide = [1]\ntrain = ["a"]\n'
    )
    sample = load_data(DataRequest(tmp_path / "d.toml", seed=0)).samples["train"][0]
    assert draws(sample, 64) == 3 * 3  # 160 x 192 px


def test_colour_jitter_keeps_the_range_and_strength_zero_keeps_the_image() -> None:
    image = np.random.default_rng(0).random((20, 20, 3), dtype=np.float32)
    assert jitter_colour(image, np.random.default_rng(1), 0) is image
    for seed in range(20):
        varied = jitter_colour(image, np.random.default_rng(seed), 1.0)
        assert varied.dtype == np.float32
        assert varied.min() >= 0
        assert varied.max() <= 1
        assert not np.array_equal(varied, image)
