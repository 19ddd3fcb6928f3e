"""The light Hamburger, SegNeXt's decoder.

Source: Guo et al. 2022, arXiv:2209.08575, section 3.2 and table 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import CLASSES, upsample
from kda_edge.decoders.hamburger import NonNegativeFactorization

RANK: Final = 16  # bases of the factorisation, as in the paper's settings
NORM_GROUPS: Final = 32
DROPOUT: Final = 0.1
# Channels of the decoder, by the size of the encoder.
DECODER_WIDTHS: Final = MappingProxyType({"tiny": 256, "small": 256, "base": 512, "large": 1024})


class GroupNorm(nn.GroupNorm):
    """Group norm as a layer norm over each group: the same values, one node of an exported graph, and no Shape."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        groups = x.reshape(x.shape[0], self.num_groups, -1)
        normed = F.layer_norm(groups, groups.shape[2:], eps=self.eps).reshape(x.shape)
        return normed * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)


class LightHamburger(nn.Module):
    """Class logits from the maps at strides 8, 16 and 32, with a low-rank view of the whole map added.

    It is lighter than the Hamburger of the KDA paper's SegNeXt head (`hamburger`): no 3 x 3 convolution
    follows the factorisation, which has 16 bases.

    Args:
        in_channels: channels of the four maps, finest first; the finest map is not used.
        width: channels inside.
        classes: how many to tell apart.
    """

    def __init__(self, in_channels: Sequence[int], width: int, classes: int = CLASSES) -> None:
        super().__init__()
        self.squeeze = _convolution(sum(in_channels[1:]), width)
        self.lower = nn.Conv2d(width, width, kernel_size=1)
        self.factorize = NonNegativeFactorization(width, RANK)
        self.upper = nn.Sequential(nn.Conv2d(width, width, kernel_size=1, bias=False), GroupNorm(NORM_GROUPS, width))
        self.align = _convolution(width, width)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return class logits, (B, K, H / 8, W / 8), from maps at strides 4, 8, 16 and 32."""
        squeezed = self.squeeze(torch.cat((maps[1], upsample(maps[2], 2), upsample(maps[3], 4)), dim=1))
        context = self.upper(self.factorize(F.relu(self.lower(squeezed))))
        logits: Tensor = self.classify(self.dropout(self.align(F.relu(squeezed + context))))
        return logits


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
        GroupNorm(NORM_GROUPS, out_channels),
        nn.ReLU(),
    )
