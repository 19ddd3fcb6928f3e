"""SegFormer's head: unify the maps' channels, bring all to stride 4, fuse them by one 1 x 1 convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import CLASSES, convolution_norm_relu, landslide_minus_background, upsample

DROPOUT: Final = 0.1


class SegFormerHead(nn.Module):
    """Source: Xie et al. 2021, arXiv:2105.15203, section 3.2, as the KDA paper counts it.

    There, the unifying layers have a batch norm and a ReLU too, and the width is 256, twice the channels of stage 1;
    at other sizes of the student the width keeps that ratio.

    Args:
        in_channels: channels of the four maps, finest first.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        width = 2 * in_channels[0]
        self.unify = nn.ModuleList(convolution_norm_relu(channels, width) for channels in in_channels)
        self.fuse = convolution_norm_relu(len(in_channels) * width, width)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classify = nn.Conv2d(width, CLASSES, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the landslide logit, (B, 1, H, W), from maps at strides 4, 8, 16 and 32."""
        unified = [unify(x) for unify, x in zip(self.unify, maps, strict=True)]
        aligned = [unified[0], *(upsample(x, 2**stage) for stage, x in enumerate(unified[1:], 1))]
        fused = self.dropout(self.fuse(torch.cat(aligned, dim=1)))
        return upsample(landslide_minus_background(self.classify(fused)), 4)
