"""Augmentation of a batch's pixels on a device, against other sensors, weather and files; each crop has its own draws.

Statistics: Nam & Kim 2018, arXiv:1805.07925, on pixels (colours of another crop). Amplitudes: Yang & Soatto 2020,
arXiv:2004.05498 (low frequencies of another crop). JPEG: quantised cosine transform of 8 x 8 blocks, ITU-T T.81.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_PX: Final = 8
LUMINANCE_STEPS: Final = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)  # T.81, table K.1
BLUR_PX: Final = 4  # reach of the kernel


class CardColours:
    """Varies crops.

    Args:
        device: of the crops.
        seed: of everything random.
        strength: 1 as described; less in proportion.
    """

    def __init__(self, device: torch.device | str, seed: int, strength: float = 1.0) -> None:
        self.device, self.strength = torch.device(device), strength
        self.random = torch.Generator(self.device).manual_seed(seed)
        step = torch.arange(BLOCK_PX, dtype=torch.float32, device=self.device)
        cosines = torch.cos(math.pi * (2 * step[None] + 1) * step[:, None] / (2 * BLOCK_PX)) / 2
        cosines[0] /= math.sqrt(2)
        self.cosines = cosines
        self.steps = torch.tensor(LUMINANCE_STEPS, device=self.device, dtype=torch.float32).reshape(8, 8) / 255

    def __call__(self, rgb: Tensor) -> Tensor:
        """Return varied crops, (B, 3, S, S), 0 to 255, from such."""
        x = rgb / 255
        x = self._some(0.10, x, self._amplitudes(x)) if x.shape[-1] == x.shape[-2] else x
        x = self._statistics(x)
        x = self._colour(x)
        x = self._haze(x)
        x = self._some(0.30, x, self._blurred(x))
        x = self._some(0.10, x, self._coarse(x))
        x = self._some(0.30, x, self._jpeg(x))
        noise = torch.randn(x.shape, device=self.device, generator=self.random)
        x = self._some(0.30, x, x + noise * self._between(0.005, 0.04, len(x)))
        return x.clamp(0, 1) * 255

    def _uniform(self, count: int) -> Tensor:
        return torch.rand((count, 1, 1, 1), device=self.device, generator=self.random)

    def _between(self, low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * self._uniform(count)

    def _some(self, share: float, as_is: Tensor, varied: Tensor) -> Tensor:
        return torch.where(self._uniform(len(as_is)) < share * self.strength, varied, as_is)

    def _others(self, count: int) -> Tensor:
        return torch.randperm(count, device=self.device, generator=self.random)

    def _statistics(self, x: Tensor) -> Tensor:
        """Move means and deviations of the bands part of the way to those of another crop."""
        mean, deviation = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True) + 0.02
        other = self._others(len(x))
        way = self._uniform(len(x))
        to_mean = torch.lerp(mean, mean[other], way)
        to_deviation = torch.exp(torch.lerp(deviation.log(), deviation[other].log(), way))
        return self._some(0.40, x, (x - mean) / deviation * to_deviation + to_mean).clamp(0, 1)

    def _colour(self, x: Tensor) -> Tensor:
        """Brightness, gains of the bands, contrast, saturation, gamma."""
        count, strong = len(x), self.strength
        gains = 1 + 0.12 * strong * (2 * torch.rand((count, 3, 1, 1), device=self.device, generator=self.random) - 1)
        x = x * gains * torch.exp(0.3 * strong * self._between(-1, 1, count))
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * torch.exp(0.3 * strong * self._between(-1, 1, count)) + mean
        grey = x.mean(1, keepdim=True)
        saturation = torch.exp(0.6 * strong * self._between(-1, 1, count))
        saturation = torch.where(self._uniform(count) < 0.04 * strong, torch.zeros_like(saturation), saturation)
        x = ((x - grey) * saturation + grey).clamp(0, 1)
        gamma = torch.exp(0.4 * strong * self._between(-1, 1, count))
        return x.clamp(min=1e-4) ** gamma

    def _haze(self, x: Tensor) -> Tensor:
        """Bluish white over everything."""
        amount = self._between(0.05, 0.4, len(x))
        white = torch.tensor([0.80, 0.84, 0.90], device=self.device).reshape(1, 3, 1, 1)
        return self._some(0.12, x, torch.lerp(x, white.expand_as(x), amount))

    def _blurred(self, x: Tensor) -> Tensor:
        sigma = torch.exp(self._between(math.log(0.4), math.log(2.0), len(x))).reshape(-1, 1)
        line = torch.arange(-BLUR_PX, BLUR_PX + 1, device=self.device)
        kernel = torch.exp(-(line[None] ** 2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # (3 B, K)
        flat = F.pad(x.reshape(1, -1, *x.shape[2:]), (BLUR_PX,) * 4, mode="reflect")
        flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
        flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
        return flat.reshape(x.shape)

    def _coarse(self, x: Tensor) -> Tensor:
        small = F.avg_pool2d(x, 2)
        return F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)

    def _jpeg(self, x: Tensor) -> Tensor:
        """Quantise the cosine transform of blocks; the bands alike, which stands for the chroma tables."""
        count, bands, height, width = x.shape
        if height % BLOCK_PX or width % BLOCK_PX:
            return x
        blocks = x.reshape(count, bands, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
        blocks = blocks.transpose(3, 4)  # (B, 3, rows, cols, 8, 8)
        coefficients = self.cosines @ blocks @ self.cosines.T
        coarseness = torch.exp(self._between(math.log(0.15), math.log(1.6), count))[..., None, None]
        steps = self.steps * coarseness
        coefficients = torch.round(coefficients / steps) * steps
        blocks = self.cosines.T @ coefficients @ self.cosines
        return blocks.transpose(3, 4).reshape(x.shape)

    def _amplitudes(self, x: Tensor) -> Tensor:
        """Give the lowest frequencies the amplitudes of another crop, keeping the phases."""
        frequencies = torch.fft.rfft2(x)
        amplitude = frequencies.abs()
        reach = max(2, round(0.008 * x.shape[-1]))
        mixed, other = amplitude.clone(), amplitude[self._others(len(x))]
        mixed[:, :, :reach, :reach] = other[:, :, :reach, :reach]
        mixed[:, :, -reach:, :reach] = other[:, :, -reach:, :reach]
        varied: Tensor = torch.fft.irfft2(torch.polar(mixed, frequencies.angle()), s=x.shape[2:])
        return varied.clamp(0, 1)
