"""Pyramid pooling: what a map holds in each cell of grids of 1, 2, 3 and 6 cells a side, back at the map's size.

Both directions are written out for a graph of constants: PyTorch's adaptive pooling does not export, and resizing to
a size, not by a factor, leaves a Shape operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

GRIDS: Final = (1, 2, 3, 6)  # cells a side


def cells(length_px: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield the first pixel of each of `count` cells, and the first behind it; cells overlap where they must."""
    for cell in range(count):
        yield cell * length_px // count, -(-(cell + 1) * length_px // count)


def pooled_by_maximum(x: Tensor, grid: int) -> Tensor:
    """(B, C, H, W) -> the maximum in each cell, (B, C, grid, grid); equal to PyTorch's adaptive pooling."""
    rows = torch.stack([x[:, :, first:behind].amax(dim=2) for first, behind in cells(x.shape[2], grid)], dim=2)
    return torch.stack([rows[..., first:behind].amax(dim=3) for first, behind in cells(x.shape[3], grid)], dim=3)


def stretched(x: Tensor, height_px: int, width_px: int) -> Tensor:
    """(B, C, h, w) -> (B, C, height_px, width_px), bilinear between pixel centres, as two matrix products."""
    down = _bilinear_weights(x.shape[2], height_px, x)
    across = _bilinear_weights(x.shape[3], width_px, x)
    return down @ (x @ across.T)


def _bilinear_weights(have_px: int, want_px: int, like: Tensor) -> Tensor:
    """Return how much each of `want_px` pixels takes from each of `have_px`, (want, have); rows sum to one."""
    centres = (torch.arange(want_px, device=like.device, dtype=torch.float32) + 0.5) * (have_px / want_px) - 0.5
    sources = torch.arange(have_px, device=like.device, dtype=torch.float32)
    distances = (centres.clamp(0, have_px - 1)[:, None] - sources).abs()
    return (1.0 - distances).clamp(min=0.0).to(like.dtype)


class PyramidPooling(nn.Module):
    """Append to a map its pooled selves, each through its own 1 x 1 convolution.

    Source: Zhao et al. 2017, arXiv:1612.01105, section 3.2. There the pooling averages; the network of the KDA paper's
    Table IV takes the maximum, and so does this.

    Args:
        in_channels: of the map.
        branch_channels: of each pooled self; the result has `in_channels + 4 * branch_channels`.
    """

    def __init__(self, in_channels: int, branch_channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(in_channels, branch_channels, kernel_size=1) for _ in GRIDS)
        self.out_channels = in_channels + len(GRIDS) * branch_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H, W): the pooled selves from coarse to fine, then `x`."""
        height_px, width_px = x.shape[2:]
        pooled = [
            stretched(branch(pooled_by_maximum(x, grid)), height_px, width_px)
            for grid, branch in zip(GRIDS, self.branches, strict=True)
        ]
        return torch.cat((*pooled, x), dim=1)
