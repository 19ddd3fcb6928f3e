"""All images of a packed set in the memory of one device, each at four sizes, so that crops are cut there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.labels import LANDSLIDE, shrunk_labels
from .packed_set import Labelled, PackedImage

LEVELS: Final = 4  # whole, a half, a quarter, an eighth
LEAST_PX: Final = 8  # of a side; smaller levels are left out
LANDSLIDE_POSITIONS: Final = 4096  # kept of an image


class CardImages:
    """Pixels and labels of many images on one device.

    Attributes:
        facts: of each image.
        pixels: (N, 4) uint8: red, green, blue and label of every pixel of every level.
        first: (L, I) int64: row of `pixels` where a level of an image begins.
        size_hw: (L, I, 2) int64.
        levels: (I,) int64: how many levels an image has.
        landslide_xy: (M, 2) float32: positions of pixels that show landslide, image by image.
        landslide_first: (I,) int64: where those of an image begin.
        landslide_count: (I,) int64.
    """

    def __init__(self, images: Iterable[Labelled], device: torch.device | str) -> None:
        facts: list[PackedImage] = []
        parts: list[NDArray[np.uint8]] = []
        positions: list[NDArray[np.float32]] = []
        first, sizes, levels, counts, rows = [], [], [], [], 0
        for image in images:
            facts.append(image.facts)
            firsts, hws = [], []
            for rgb, labels in _levels(image.rgb, image.labels):
                parts.append(np.concatenate([rgb, labels[:, :, None]], axis=2).reshape(-1, 4))
                firsts.append(rows)
                hws.append(labels.shape)
                rows += labels.size
            levels.append(len(firsts))
            first.append(firsts + [firsts[-1]] * (LEVELS - len(firsts)))
            sizes.append(hws + [hws[-1]] * (LEVELS - len(hws)))
            positions.append(_landslide_positions(image.labels, len(facts)))
            counts.append(len(positions[-1]))
        self.facts: Sequence[PackedImage] = facts
        self.pixels = torch.from_numpy(np.concatenate(parts)).to(device)
        self.first = torch.tensor(first, device=device).T.contiguous()
        self.size_hw = torch.tensor(sizes, device=device).transpose(0, 1).contiguous()
        self.levels = torch.tensor(levels, device=device)
        self.landslide_xy = torch.from_numpy(np.concatenate(positions)).to(device)
        self.landslide_count = torch.tensor(counts, device=device)
        self.landslide_first = torch.cumsum(self.landslide_count, 0) - self.landslide_count

    @property
    def device(self) -> torch.device:
        """Where the pixels are."""
        return self.pixels.device

    def whole(self, index: int) -> tuple[Tensor, Tensor]:
        """Return pixels (3, H, W) uint8 and labels (H, W) uint8 of an image at its full size."""
        height, width = (int(side) for side in self.size_hw[0, index])
        begin = int(self.first[0, index])
        both = self.pixels[begin : begin + height * width].reshape(height, width, 4)
        return both[:, :, :3].permute(2, 0, 1), both[:, :, 3]


def _levels(rgb: NDArray[np.uint8], labels: NDArray[np.uint8]) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    levels = [(rgb, labels)]
    while len(levels) < LEVELS and min(labels.shape) >= 2 * LEAST_PX:
        height, width = labels.shape[0] // 2, labels.shape[1] // 2
        rgb = np.asarray(
            cv2.resize(rgb[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
        labels = shrunk_labels(labels, 2)
        levels.append((rgb, labels))
    return levels


def _landslide_positions(labels: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    rows, cols = np.nonzero(labels == LANDSLIDE)
    if len(rows) > LANDSLIDE_POSITIONS:
        chosen = np.random.default_rng(seed).choice(len(rows), LANDSLIDE_POSITIONS, replace=False)
        rows, cols = rows[chosen], cols[chosen]
    return np.stack([cols, rows], axis=1).astype(np.float32)
