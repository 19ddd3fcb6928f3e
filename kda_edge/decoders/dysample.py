"""DySample: upsampling that learns where to sample.

Source: Liu et al. 2023, "Learning to Upsample by Learning to Sample", ICCV, arXiv:2308.15085, style "lp" with
static scope, as the published KDA decoder uses it.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS: Final = 4
STATIC_SCOPE: Final = 0.25


class DySample(nn.Module):
    """Upsample by `scale`; each of 4 groups of channels is sampled, bilinearly, at its own learned positions.

    Args:
        channels: of the map, a multiple of 4.
        scale: integer factor, 2 or more.
    """

    init_pos: Tensor

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.offset = nn.Conv2d(channels, 2 * GROUPS * scale * scale, kernel_size=1)
        nn.init.normal_(self.offset.weight, std=0.001)
        nn.init.zeros_(self.offset.get_parameter("bias"))
        self.register_buffer("init_pos", subpixel_centres(scale))

    def positions(self, x: Tensor) -> Tensor:
        """Return where each output pixel samples, in `grid_sample` coordinates, float32, (B * 4, s * H, s * W, 2).

        Under autocast these stay float32: at 128 px, half-precision positions are off by up to 0.06 px.
        """
        batch, _, height, width = x.shape
        offset = self.offset(x).float() * STATIC_SCOPE + self.init_pos
        offset = offset.reshape(batch, 2, -1, height, width)
        # Centres of the input pixels, in input pixels from the left upper corner of the map.
        cols = torch.arange(width, device=x.device, dtype=torch.float32) + 0.5
        rows = torch.arange(height, device=x.device, dtype=torch.float32) + 0.5
        grid_x = (offset[:, 0] + cols) * (2.0 / width) - 1.0
        grid_y = (offset[:, 1] + rows[:, None]) * (2.0 / height) - 1.0
        fine_x = F.pixel_shuffle(grid_x, self.scale)
        fine_y = F.pixel_shuffle(grid_y, self.scale)
        # Not stacked along the last side: OpenVINO copies what is joined there value by value, an eighth of its time.
        return torch.stack((fine_x, fine_y), dim=2).flatten(0, 1).permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, s * H, s * W)."""
        return self.sample(x, self.positions(x))

    def sample(self, x: Tensor, positions: Tensor) -> Tensor:
        """Sample each group of `x` (B, C, H, W), C a multiple of 4, at its `positions`: (B, C, s * H, s * W)."""
        batch, channels, height, width = x.shape
        groups = x.reshape(batch * GROUPS, channels // GROUPS, height, width)
        # Positions are float32 and grid_sample wants one type; bilinear weights sum to one, so nothing overflows.
        with torch.autocast(x.device.type, enabled=False):
            sampled = F.grid_sample(
                groups.float(), positions, mode="bilinear", padding_mode="border", align_corners=False
            )
        return sampled.reshape(batch, channels, height * self.scale, width * self.scale)


def subpixel_centres(scale: int) -> Tensor:
    """Return the offsets of the s x s sub-pixels from the centre of their pixel, in pixels.

    Shape (1, 2 * 4 * s * s, 1, 1): x of every group, then y of every group, sub-pixels in row order.
    """
    steps = [((1 - scale) / 2 + i) / scale for i in range(scale)]
    x_of_group = steps * scale
    y_of_group = [step for step in steps for _ in range(scale)]
    return torch.tensor(x_of_group * GROUPS + y_of_group * GROUPS).reshape(1, -1, 1, 1)
