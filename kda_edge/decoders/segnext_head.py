"""SegNeXt's head: the maps at strides 8, 16 and 32 together, and global context by a Hamburger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import CLASSES, landslide_minus_background, upsample
from kda_edge.decoders.hamburger import Hamburger

DROPOUT: Final = 0.1


class SegNeXtHead(nn.Module):
    """Source: Guo et al. 2022, arXiv:2209.08575, section 3.2, as the KDA paper counts it.

    There, the Hamburger is 512 wide, four times the channels of stage 1, and what follows it 128; at other sizes of
    the student the widths keep that ratio. `calflops` sees no batched products, in the paper's figure or here: the
    factorisation comes on top of 28.10 GFLOPs, 0.9 of them at 224 px.

    Args:
        in_channels: channels of the four maps, finest first; the finest map is not used.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        width = in_channels[0]
        self.squeeze = _convolution_relu(sum(in_channels[1:]), 4 * width)
        self.hamburger = Hamburger(4 * width)
        self.align = _convolution_relu(4 * width, width)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classify = nn.Conv2d(width, CLASSES, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the landslide logit, (B, 1, H, W), from maps at strides 4, 8, 16 and 32."""
        joined = torch.cat((maps[1], upsample(maps[2], 2), upsample(maps[3], 4)), dim=1)
        aligned = self.dropout(self.align(self.hamburger(self.squeeze(joined))))
        return upsample(landslide_minus_background(self.classify(aligned)), 8)


def _convolution_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False), nn.ReLU(inplace=True))
