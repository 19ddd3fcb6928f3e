"""Heads on a feature pyramid, added up from coarse to fine: UperNet's, and a light one of two cheap convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import CLASSES, convolution_norm_relu, landslide_minus_background, upsample
from kda_edge.decoders.pyramid_pooling import PyramidPooling


class UperNetHead(nn.Module):
    """Source: Xiao et al. 2018, arXiv:1807.10221, section 3.1, as the KDA paper counts it.

    There, every convolution but the last is 1 x 1 where the original has 3 x 3, which keeps the head under a million
    parameters; the pyramid is as wide as stage 1; the level from the pooled map passes one convolution more on
    its way down; and the classes are told apart by a 3 x 3 convolution at the image's size. That last one does
    not commute with upsampling, so all channels are upsampled: at 512 px, 128 MiB a tile at 128 channels.

    Args:
        in_channels: channels of the four maps, finest first.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        width = in_channels[0]
        self.pool = PyramidPooling(in_channels[-1], width)
        self.bottleneck = convolution_norm_relu(self.pool.out_channels, width)
        self.descend = nn.Conv2d(width, width, kernel_size=1)
        finer = list(reversed(in_channels[:-1]))
        self.lateral = nn.ModuleList(convolution_norm_relu(channels, width) for channels in finer)
        self.smooth = nn.ModuleList(convolution_norm_relu(width, width) for _ in finer)
        self.fuse = convolution_norm_relu(len(in_channels) * width, width)
        self.classify = nn.Conv2d(width, CLASSES, kernel_size=3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the landslide logit, (B, 1, H, W), from maps at strides 4, 8, 16 and 32."""
        coarsest, *finer = reversed(maps)
        levels = [self.bottleneck(self.pool(coarsest))]
        above = self.descend(levels[0])
        for lateral, smooth, x in zip(self.lateral, self.smooth, finer, strict=True):
            above = smooth(upsample(above, 2) + lateral(x))
            levels.append(above)
        scales = [2**step for step in range(len(finer), 0, -1)]  # to stride 4, coarse to fine
        aligned = [*(upsample(x, scale) for x, scale in zip(levels[:-1], scales, strict=True)), levels[-1]]
        fused = upsample(self.fuse(torch.cat(aligned, dim=1)), 4)
        return landslide_minus_background(self.classify(fused))


def separable_convolution(channels: int) -> nn.Sequential:
    """Return a 3 x 3 convolution of each channel and a 1 x 1 convolution across them, each with batch norm; ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class FpnHead(nn.Module):
    """Source: the top-down path of Lin et al. 2017, arXiv:1612.03144, with the sum at stride 4 as its only output.

    The width is twice the channels of stage 1, as in `SegFormerHead`. Every step is a convolution, an addition or a
    resizing by a constant factor, which each inference library has in every precision.

    Args:
        in_channels: channels of the four maps, finest first.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        width = 2 * in_channels[0]
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in in_channels)
        self.smooth = nn.Sequential(separable_convolution(width), separable_convolution(width))
        self.classify = nn.Conv2d(width, CLASSES, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the landslide logit, (B, 1, H, W), from maps at strides 4, 8, 16 and 32."""
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        total = levels.pop()
        while levels:
            total = levels.pop() + upsample(total, 2)
        return upsample(landslide_minus_background(self.classify(self.smooth(total))), 4)
