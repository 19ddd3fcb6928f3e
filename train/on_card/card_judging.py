"""Judging of networks on a device: how well their maps agree with labels at every threshold, by source and group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kda_edge.networks.network import Network

from ..data.labels import IGNORED, LANDSLIDE
from .card_images import CardImages
from .card_training import Normalise, answers

STEPS: Final = 256  # of probability
TILE_PX: Final = 256
OVERLAP_PX: Final = 64
BATCH: Final = 32


def histograms(
    networks: Sequence[Network], images: CardImages, chosen: Sequence[int], normalise: Normalise, *, half: bool
) -> dict[str, NDArray[np.int64]]:
    """Return for each `source/group` how many judged pixels have each probability: (2, 256), background then landslide.

    Args:
        networks: whose mean probability is judged.
        images: all of them.
        chosen: numbers of those to judge on.
        normalise: of pixels.
        half: compute in bfloat16.
    """
    found: dict[str, NDArray[np.int64]] = {}
    for index in chosen:
        rgb, labels = images.whole(index)
        probability = tiled(networks, rgb, normalise, half=half)
        judged = labels != IGNORED
        step = (probability * (STEPS - 1)).round().long()[judged]
        is_landslide = (labels[judged] == LANDSLIDE).long()
        counts = torch.bincount(is_landslide * STEPS + step, minlength=2 * STEPS).reshape(2, STEPS).cpu().numpy()
        facts = images.facts[index]
        name = f"{facts.source}/{facts.group}"
        found[name] = found.get(name, np.zeros((2, STEPS), np.int64)) + counts
    return found


def iou_at(histogram: NDArray[np.int64], step: int) -> float:
    """Return the landslide IoU where pixels of a probability of `step` / 255 and more count as landslide."""
    hit, false = int(histogram[1, step:].sum()), int(histogram[0, step:].sum())
    missed = int(histogram[1, :step].sum())
    return hit / max(hit + false + missed, 1)


def tiled(networks: Sequence[Network], rgb: Tensor, normalise: Normalise, *, half: bool) -> Tensor:
    """Return the mean probability (H, W) of networks on an image (3, H, W), by tiles that overlap and are averaged."""
    height, width = rgb.shape[1:]
    rows, cols = _tile_starts(height), _tile_starts(width)
    down, along = rows[-1] + TILE_PX, cols[-1] + TILE_PX
    padded = rgb[:, _mirrored(down, height, rgb.device)][:, :, _mirrored(along, width, rgb.device)]
    ramp = torch.arange(1, TILE_PX + 1, device=rgb.device, dtype=torch.float32)
    edge = torch.minimum(ramp, TILE_PX + 1 - ramp).clamp(max=OVERLAP_PX)
    weight = edge[:, None] * edge[None, :]
    total = torch.zeros((down, along), device=rgb.device)
    weights = torch.zeros_like(total)
    places = [(row, col) for row in rows for col in cols]
    for first in range(0, len(places), BATCH):
        here = places[first : first + BATCH]
        tiles = torch.stack([padded[:, row : row + TILE_PX, col : col + TILE_PX] for row, col in here])
        found = answers(networks, normalise(tiles.float()), half=half)[:, 0]
        for (row, col), tile in zip(here, found, strict=True):
            total[row : row + TILE_PX, col : col + TILE_PX] += tile * weight
            weights[row : row + TILE_PX, col : col + TILE_PX] += weight
    return (total / weights)[:height, :width]


def _tile_starts(size: int) -> list[int]:
    step = TILE_PX - OVERLAP_PX
    count = max(1, -(-(size - OVERLAP_PX) // step))
    return [step * number for number in range(count)]


def _mirrored(count: int, size: int, device: torch.device) -> Tensor:
    at = torch.arange(count, device=device)
    period = max(2 * (size - 1), 1)
    at = at % period
    return torch.minimum(at, period - at).clamp(max=size - 1)
