"""Batches come in the memory format that was asked for, with the same pixels, whoever prepares them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.batches import batches_of, loaded
from kda_edge.train.data.crops import Crops
from kda_edge.train.data.data_file import DataRequest, load_data


def crops_of(folders: Path, *, channels_last: bool) -> Crops:
    data = load_data(DataRequest(folders, seed=0))
    crops = Crops(data.samples["train"], data.input, Augmentation(), crop_px=32, seed=0)
    crops.channels_last = channels_last
    return crops


def test_items_are_cut_in_order_and_an_incomplete_last_batch_can_be_left_out() -> None:
    assert batches_of([5, 3, 1, 4, 2], 2) == [[5, 3], [1, 4], [2]]
    assert batches_of([5, 3, 1, 4, 2], 2, whole_only=True) == [[5, 3], [1, 4]]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("batch", [1, 4])
def test_batches_in_channels_last_hold_the_same_pixels_and_labels(folders: Path, workers: int, batch: int) -> None:
    batches = batches_of(list(range(8)), batch)
    plain = list(loaded(crops_of(folders, channels_last=False), batches, workers=workers, pinned=False))
    last = list(loaded(crops_of(folders, channels_last=True), batches, workers=workers, pinned=False))
    for (image, labels), (other_image, other_labels) in zip(plain, last, strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(labels, other_labels)
        assert image.shape == other_image.shape == (batch, 3, 32, 32)
        assert image.is_contiguous()
        assert other_image.is_contiguous(memory_format=torch.channels_last)


def test_a_crop_in_channels_last_is_a_view_of_its_own_pixels(folders: Path) -> None:
    """No copy: three channels side by side, as the image has them."""
    image, _ = crops_of(folders, channels_last=True)[0]
    assert image.shape == (3, 32, 32)
    assert image.stride() == (1, 3 * 32, 3)
    assert image.permute(1, 2, 0).is_contiguous()
