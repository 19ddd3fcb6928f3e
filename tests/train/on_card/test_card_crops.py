"""Crops cut on a device, against OpenCV's warp of the same image by the same matrix."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kda_edge.train.data.labels import IGNORED, LANDSLIDE
from kda_edge.train.on_card.card_crops import CropSampler
from kda_edge.train.on_card.card_images import CardImages
from kda_edge.train.on_card.packed_set import Labelled, PackedImage

SIDE = 48


def image_of(seed: int, height_px: int, width_px: int, draws: float = 1.0) -> Labelled:
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.integers(0, 256, (9, 11, 3), np.uint8), (width_px, height_px), interpolation=cv2.INTER_CUBIC
    )
    labels = (cv2.resize(rng.integers(0, 256, (7, 8), np.uint8), (width_px, height_px)) > 150).astype(np.uint8)
    labels[:3, :5] = IGNORED
    facts = PackedImage(f"image{seed}", "made", "group", "train", draws, is_scene=False)
    return Labelled(facts, np.asarray(smooth, np.uint8), labels)


def warped(pixels: NDArray[np.uint8], centre: NDArray[np.float64], matrix: NDArray[np.float64], flags: int) -> object:
    half = (SIDE - 1) / 2
    shift = centre - 0.5 - matrix @ np.array([half, half])
    affine = np.hstack([matrix, shift[:, None]])
    return cv2.warpAffine(
        pixels, affine, (SIDE, SIDE), flags=flags | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101
    )


def test_crops_are_those_of_a_warp_and_mirrored_beyond_the_border() -> None:
    images = [image_of(1, 90, 70), image_of(2, 64, 120)]
    card = CardImages(images, "cpu")
    sampler = CropSampler(card, [0, 1], crop_px=SIDE, magnification=(1.0, 2.0), seed=0)
    index = torch.tensor([0, 1, 1, 0])
    centre = torch.tensor([[35.0, 45.0], [3.0, 60.0], [119.0, 2.0], [60.0, 85.0]])
    magnification = torch.tensor([1.0, 1.3, 1.9, 1.05])
    matrix = sampler._matrices(magnification)
    crops = sampler._cut(index, centre, matrix, magnification)
    for number in range(4):
        source, at = images[int(index[number])], centre[number].double().numpy()
        expected = warped(source.rgb, at, matrix[number].double().numpy(), cv2.INTER_LINEAR)
        found = crops.rgb[number].permute(1, 2, 0).numpy()
        assert np.abs(found - np.asarray(expected, np.float32)).mean() < 1.0  # OpenCV's weights have five bits
        labels = warped(source.labels, at, matrix[number].double().numpy(), cv2.INTER_NEAREST)
        assert (crops.labels[number].numpy() == labels).mean() > 0.99


def test_small_magnifications_read_a_smaller_size_that_shows_the_same_ground() -> None:
    image = image_of(3, 256, 256)
    card = CardImages([image], "cpu")
    sampler = CropSampler(card, [0], crop_px=SIDE, magnification=(0.25, 0.25), seed=0)
    straight = torch.eye(2)[None] / 0.25
    crops = sampler._cut(torch.tensor([0]), torch.tensor([[128.0, 128.0]]), straight, torch.tensor([0.25]))
    part = image.rgb[32:224, 32:224]
    expected = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(crops.rgb[0].permute(1, 2, 0).numpy() - expected).max() <= 1.5


def test_images_come_in_proportion_to_their_draws_and_half_the_crops_show_landslide() -> None:
    bare = image_of(4, 64, 64, draws=1.0)
    bare.labels[:] = 0
    large = image_of(5, 640, 640, draws=3.0)
    large.labels[:] = 0
    large.labels[600:610, 20:30] = LANDSLIDE
    sampler = CropSampler(CardImages([bare, large], "cpu"), [0, 1], crop_px=SIDE, magnification=(0.9, 1.1), seed=1)
    crops = sampler(800)
    share = float((crops.labels == LANDSLIDE).flatten(1).any(1).float().mean())
    assert share == pytest.approx(0.75 * 0.5, abs=0.06)


def test_a_seed_gives_its_crops_again() -> None:
    card = CardImages([image_of(6, 80, 90)], "cpu")
    first, again, other = (
        CropSampler(card, [0], crop_px=SIDE, magnification=(0.5, 2.0), seed=seed)(4) for seed in (7, 7, 8)
    )
    assert torch.equal(first.rgb, again.rgb)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.rgb, other.rgb)
