"""Judging of networks on a device: how well their maps agree with labels at every threshold, by source and group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from kda_edge.metrics import ProbabilityHistogram
from kda_edge.networks.network import Network

from ..data.labels import IGNORED, LANDSLIDE
from ..segmentation.evaluate import Evaluation
from .card_images import CardImages
from .card_training import Normalise, answers

TILE_PX: Final = 256
OVERLAP_PX: Final = 64
BATCH: Final = 32


def evaluate_on_card(
    networks: Sequence[Network], images: CardImages, chosen: Sequence[int], normalise: Normalise, *, half: bool
) -> Evaluation:
    """Return how the mean probability of networks agrees with the labels of images, by `source/group`.

    Args:
        networks: in eval mode, on the device.
        images: all of them.
        chosen: numbers of those to judge on.
        normalise: of pixels.
        half: compute in bfloat16.
    """
    found: dict[str, ProbabilityHistogram] = {}
    for index in chosen:
        rgb, labels = images.whole(index)
        probability = tiled(networks, rgb, normalise, half=half).cpu().numpy()
        truth, facts = labels.cpu().numpy(), images.facts[index]
        histogram = found.setdefault(f"{facts.source}/{facts.group}", ProbabilityHistogram())
        histogram.add(probability.clip(0, 1), truth == LANDSLIDE, truth != IGNORED)
    return Evaluation(found)


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
