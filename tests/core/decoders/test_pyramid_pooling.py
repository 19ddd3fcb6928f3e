"""The pyramid pooling of the UPerNet head: each cell's maximum, stretched back, before the map itself."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kda_edge.decoders.pyramid_pooling import GRIDS, PyramidPooling, pooled_by_maximum, stretched


def slow_pool(image: Tensor, grid: int) -> Tensor:
    """Pixel by pixel: a pixel belongs to each cell that it overlaps, with cells of equal real-valued sides."""
    channels, height, width = image.shape
    pooled = torch.full((channels, grid, grid), -math.inf)
    for i in range(grid):
        for j in range(grid):
            for row in range(height):
                for col in range(width):
                    inside_rows = row + 1 > i * height / grid and row < (i + 1) * height / grid
                    inside_cols = col + 1 > j * width / grid and col < (j + 1) * width / grid
                    if inside_rows and inside_cols:
                        pooled[:, i, j] = torch.maximum(pooled[:, i, j], image[:, row, col])
    return pooled


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 3), (7, 7), (16, 16), (5, 12)], ids=str)
@pytest.mark.parametrize("grid", GRIDS)
def test_pooling_equals_a_pixel_by_pixel_version_and_stretching_is_bilinear(
    grid: int, size_hw: tuple[int, int]
) -> None:
    x = torch.randn(2, 3, *size_hw, generator=torch.Generator().manual_seed(grid))
    pooled = pooled_by_maximum(x, grid)
    assert torch.equal(pooled, torch.stack([slow_pool(image, grid) for image in x]))
    assert torch.equal(pooled, F.adaptive_max_pool2d(x, grid))
    expected = F.interpolate(pooled, size=size_hw, mode="bilinear", align_corners=False)
    torch.testing.assert_close(stretched(pooled, *size_hw), expected, rtol=1e-5, atol=1e-5)


def test_pyramid_pooling_keeps_the_map_behind_its_pooled_selves() -> None:
    torch.manual_seed(6)
    layer = PyramidPooling(4, 2)
    x = torch.randn(1, 4, 7, 5)
    with torch.inference_mode():
        found = layer(x)
        assert found.shape == (1, layer.out_channels, 7, 5)
        assert torch.equal(found[:, -4:], x)
        for k, (grid, branch) in enumerate(zip(GRIDS, layer.branches, strict=True)):
            small = branch(F.adaptive_max_pool2d(x, grid))
            expected = F.interpolate(small, size=(7, 5), mode="bilinear", align_corners=False)
            torch.testing.assert_close(found[:, 2 * k : 2 * k + 2], expected, rtol=1e-5, atol=1e-5)
