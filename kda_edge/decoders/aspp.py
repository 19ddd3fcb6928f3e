"""Atrous spatial pyramid pooling: one map seen at several distances at once, and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PooledContext(nn.Sequential):
    """The mean over the whole map, convolved, normed, and spread over the map again.

    Args:
        layers: global pooling, 1 x 1 convolution, batch norm and ReLU, in this order.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        if len(layers) != 4 or not isinstance(layers[2], nn.BatchNorm2d):
            raise TypeError("pooled context takes pooling, convolution, batch norm and ReLU")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W), the same everywhere."""
        pool, convolve, norm, activate = self
        assert isinstance(norm, nn.BatchNorm2d)
        pooled = convolve(pool(x))
        if self.training and pooled.shape[0] == 1:
            # One value a channel has no variance, and batch norm raises. An epoch's last batch may hold a single
            # image: it is normed as in evaluation.
            pooled = F.batch_norm(pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        else:
            pooled = norm(pooled)
        spread: Tensor = activate(pooled).expand(-1, -1, *x.shape[2:])
        return spread


class AtrousPyramid(nn.Module):
    """Five views of one map, joined: 1 x 1, three dilated 3 x 3, and the pooled context.

    Source: Chen et al. 2017, arXiv:1706.05587, section 3.3.

    Args:
        in_channels: of the map.
        out_channels: of each view and of the result.
        dilations_px: of the three 3 x 3 convolutions.
        dropout: share of the result's values that training drops, 0..1.
    """

    def __init__(self, in_channels: int, out_channels: int, dilations_px: Sequence[int], dropout: float) -> None:
        super().__init__()
        views: list[nn.Module] = [_convolution(in_channels, out_channels, kernel_size=1)]
        views += [
            _convolution(in_channels, out_channels, kernel_size=3, padding=dilation_px, dilation=dilation_px)
            for dilation_px in dilations_px
        ]
        views.append(PooledContext(nn.AdaptiveAvgPool2d(1), *_convolution(in_channels, out_channels, kernel_size=1)))
        self.views = nn.ModuleList(views)
        self.join = _convolution(len(views) * out_channels, out_channels, kernel_size=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W)."""
        joined: Tensor = self.dropout(self.join(torch.cat([view(x) for view in self.views], dim=1)))
        return joined


def _convolution(in_channels: int, out_channels: int, **settings: Any) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, bias=False, **settings)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())
