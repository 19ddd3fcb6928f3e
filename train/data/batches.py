"""Batches of crops, each process its share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.utils.data import DataLoader

from .crops import Crops


def batches_of(items: Sequence[int], batch: int, *, whole_only: bool = False) -> list[list[int]]:
    """Cut items into batches, in order; `whole_only` leaves an incomplete last one out."""
    cut = [list(items[i : i + batch]) for i in range(0, len(items), batch)]
    return [one for one in cut if len(one) == batch] if whole_only else cut


def loaded(
    crops: Crops, batches: Sequence[list[int]], *, workers: int, pinned: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (B, 3, S, S) and labels (B, S, S) of each batch, read ahead by worker processes."""
    count = min(workers, os.cpu_count() or 1)
    loader = DataLoader(crops, batch_sampler=list(batches), num_workers=count, pin_memory=pinned)
    yield from loader
