"""Batches of crops on a process's device: all of each, or its share where several processes train together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.batches import loaded
from ..data.crops import Crops
from ..data.labels import IGNORED
from .parallel import share_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def shared_batches(
    crops: Crops, batches: Sequence[list[int]], fabric: Fabric, *, workers: int
) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Yield images (b, 3, S, S) and labels (b, S, S) of this process, and all items of the batch.

    A process that a batch has nothing for shows one of its crops, which is not judged.

    Args:
        crops: to choose from.
        batches: items of each batch, over all processes.
        fabric: of the process.
        workers: processes that prepare crops.
    """
    mine = [share_of(batch, fabric) or batch[:1] for batch in batches]
    loader = loaded(crops, mine, workers=workers, pinned=fabric.device.type == "cuda")
    for (image, labels), batch in zip(loader, batches, strict=True):
        if fabric.global_rank >= len(batch):
            labels.fill_(IGNORED)
        yield image.to(fabric.device, non_blocking=True), labels.to(fabric.device, non_blocking=True), batch
