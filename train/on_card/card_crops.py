"""Random crops, cut out of images on a device: turned, mirrored, magnified, and read at the size that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .card_images import CardImages

LANDSLIDE_SHARE: Final = 0.5  # of the crops of an image with landslides that are centred on one; unmeasured choice
CENTRE_OFF: Final = 0.35  # of a crop's side: how far off such a centre may lie
STRETCH: Final = 0.15  # of one side against the other


@dataclass(frozen=True)
class Crops:
    """A batch of crops.

    Attributes:
        rgb: (B, 3, S, S) float32, 0 to 255.
        labels: (B, S, S) uint8: 0, 1, or 255 for not judged.
    """

    rgb: Tensor
    labels: Tensor


class CropSampler:
    """Draws crops from images on a device, each image in proportion to its draws.

    Args:
        images: all of them.
        chosen: numbers of those that are cut from.
        crop_px: side of a crop.
        magnification: smallest and largest, log-uniform.
        seed: of everything random.
    """

    def __init__(
        self,
        images: CardImages,
        chosen: Sequence[int],
        *,
        crop_px: int,
        magnification: tuple[float, float],
        seed: int,
    ) -> None:
        self.images, self.crop_px = images, crop_px
        self.low, self.high = (math.log(one) for one in magnification)
        self.random = torch.Generator(images.device).manual_seed(seed)
        self.chosen = torch.tensor(list(chosen), device=images.device)
        self.weights = torch.tensor([float(images.facts[i].draws) for i in chosen], device=images.device)

    def __call__(self, count: int) -> Crops:
        """Return a batch of so many crops."""
        index = self.chosen[torch.multinomial(self.weights, count, replacement=True, generator=self.random)]
        magnification = torch.exp(self.low + (self.high - self.low) * self._uniform(count))
        centre = self._centres(index, magnification)
        matrix = self._matrices(magnification)
        return self._cut(index, centre, matrix, magnification)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, device=self.images.device, generator=self.random)

    def _centres(self, index: Tensor, magnification: Tensor) -> Tensor:
        """Return centres (B, 2), x and y in pixels of the whole image."""
        images, count = self.images, len(index)
        size_xy = images.size_hw[0, index].flip(1).float()
        half = (self.crop_px / 2 / magnification)[:, None]
        low = torch.minimum(half, size_xy / 2)
        anywhere = low + (size_xy - 2 * low) * self._uniform(count, 2)
        counts = images.landslide_count[index]
        pick = images.landslide_first[index] + (self._uniform(count) * counts).long()
        pick = pick.clamp(max=max(len(images.landslide_xy) - 1, 0))
        off = 2 * CENTRE_OFF * half * (2 * self._uniform(count, 2) - 1)
        on_landslide = images.landslide_xy[pick] + off if len(images.landslide_xy) else anywhere
        use = (counts > 0) & (self._uniform(count) < LANDSLIDE_SHARE)
        return torch.where(use[:, None], on_landslide, anywhere)

    def _matrices(self, magnification: Tensor) -> Tensor:
        """Return source offsets from crop offsets, (B, 2, 2)."""
        count = len(magnification)
        angle = 2 * math.pi * self._uniform(count)
        mirror = torch.where(self._uniform(count) < 0.5, -1.0, 1.0)
        stretch = torch.exp(STRETCH * (2 * self._uniform(count) - 1) / 2)
        cos, sin = torch.cos(angle), torch.sin(angle)
        along, across = mirror * stretch / magnification, 1 / stretch / magnification
        return torch.stack([cos * along, -sin * across, sin * along, cos * across], dim=1).reshape(count, 2, 2)

    def _cut(self, index: Tensor, centre: Tensor, matrix: Tensor, magnification: Tensor) -> Crops:
        images, side = self.images, self.crop_px
        level = torch.round(-torch.log2(magnification)).long().clamp(min=0)
        level = torch.minimum(level, images.levels[index] - 1)
        first, size = images.first[level, index], images.size_hw[level, index]
        line = torch.arange(side, device=images.device, dtype=torch.float32) - (side - 1) / 2
        offsets = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
        whole_xy = centre[:, None, :] + offsets @ matrix.transpose(1, 2)  # (B, S * S, 2), pixel edges at whole numbers
        at = whole_xy / (2.0 ** level.float())[:, None, None] - 0.5
        x, y = _mirrored(at[..., 0], size[:, 1, None]), _mirrored(at[..., 1], size[:, 0, None])
        left, top = x.floor(), y.floor()
        wide = size[:, 1, None]
        right_step = (left + 1 < wide).long()
        down_step = (top + 1 < size[:, 0, None]).long() * wide
        corner = first[:, None] + top.long() * wide + left.long()
        share_x, share_y = (x - left)[..., None], (y - top)[..., None]
        pixels = images.pixels
        upper = torch.lerp(pixels[corner].float(), pixels[corner + right_step].float(), share_x)
        lower = torch.lerp(pixels[corner + down_step].float(), pixels[corner + down_step + right_step].float(), share_x)
        rgb = torch.lerp(upper, lower, share_y)[..., :3]
        near = corner + right_step * (x - left >= 0.5).long() + down_step * (y - top >= 0.5).long()
        labels = pixels[near, 3].reshape(-1, side, side)
        return Crops(rgb.permute(0, 2, 1).reshape(-1, 3, side, side), labels)


def _mirrored(at: Tensor, size: Tensor) -> Tensor:
    """Return positions of an image from any, mirrored at the centres of its border pixels; as the runtime pads."""
    last = (size - 1).float()
    period = (2 * last).clamp(min=1)
    inside = torch.remainder(at, period)
    return torch.minimum(torch.minimum(inside, period - inside), last)
