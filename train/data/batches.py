"""Batches of crops, each process its share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from .crops import Crops


def batches_of(items: Sequence[int], batch: int, *, whole_only: bool = False) -> list[list[int]]:
    """Cut items into batches, in order; `whole_only` leaves an incomplete last one out."""
    cut = [list(items[i : i + batch]) for i in range(0, len(items), batch)]
    return [one for one in cut if len(one) == batch] if whole_only else cut


def loaded(
    crops: Crops, batches: Sequence[list[int]], *, workers: int, pinned: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (B, 3, S, S), in the memory format of the crops, and labels (B, S, S); read ahead by workers."""
    count = min(workers, os.cpu_count() or 1)
    loader = DataLoader(crops, batch_sampler=list(batches), num_workers=count, pin_memory=pinned, collate_fn=stacked)
    yield from loader


def stacked(crops: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Stack crops into a batch of the same memory format: what lies as (S, S, 3) is copied once, as (B, S, S, 3)."""
    if crops[0][0].is_contiguous():
        images, labels = default_collate(list(crops))
        return images, labels
    images, labels = default_collate([(image.permute(1, 2, 0), labels) for image, labels in crops])
    return images.permute(0, 3, 1, 2), labels
