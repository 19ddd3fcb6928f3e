"""Judging on a device, against counting pixel by pixel on a network whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kda_edge.manifest import InputContract
from kda_edge.train.data.labels import IGNORED, LANDSLIDE
from kda_edge.train.on_card.card_images import CardImages
from kda_edge.train.on_card.card_judging import evaluate_on_card, tiled
from kda_edge.train.on_card.card_training import Normalise
from kda_edge.train.on_card.packed_set import Labelled, PackedImage


class RedIsLandslide(nn.Module):
    """Answers with the probability that the red band stands for, pixel by pixel."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.logit(image[:, :1].clamp(1e-6, 1 - 1e-6))


PLAIN = InputContract(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))


@pytest.mark.parametrize("size", [(40, 50), (256, 256), (300, 700)])
def test_tiles_make_up_the_whole_image_whatever_its_size(size: tuple[int, int]) -> None:
    rgb = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = tiled([RedIsLandslide()], rgb, Normalise(PLAIN, "cpu"), half=False)  # type: ignore[list-item]
    assert torch.allclose(found, rgb[0] / 255, atol=1e-5)


def test_the_iou_of_every_threshold_is_that_of_counted_pixels() -> None:
    rng = np.random.default_rng(0)
    images = []
    for number, group in enumerate(["a", "b", "a"]):
        facts = PackedImage(str(number), "made", group, "val", 1.0, is_scene=False)
        rgb = rng.integers(0, 256, (60, 45, 3), np.uint8)
        labels = rng.choice([0, 1, IGNORED], (60, 45), p=[0.5, 0.3, 0.2]).astype(np.uint8)
        images.append(Labelled(facts, rgb, labels))
    card = CardImages(images, "cpu")
    found = evaluate_on_card([RedIsLandslide()], card, [0, 1, 2], Normalise(PLAIN, "cpu"), half=False)  # type: ignore[list-item]
    assert sorted(found.histograms) == ["made/a", "made/b"]
    for step in (1, 77, 128, 250):
        chosen = [images[0], images[2]]
        red = np.concatenate([one.rgb[:, :, 0].ravel() for one in chosen])
        labels = np.concatenate([one.labels.ravel() for one in chosen])
        judged = labels != IGNORED
        threshold = round(step / 255, 3)
        said, true = red[judged] / 255 >= threshold, labels[judged] == LANDSLIDE
        expected = (said & true).sum() / (said | true).sum()
        assert found.counts(threshold)["made/a"].iou == pytest.approx(expected, abs=1e-12)
