"""MFFENet's decoder, the landslide network of the CAS data set's authors.

Source: Xu et al. 2022, "MFFENet and ADANet: a robust deep transfer learning method and its application in high
precision and fast cross-scene recognition of earthquake-induced landslides", Landslides 19, 1617-1647,
doi 10.1007/s10346-022-01847-1; widths and wiring follow the authors' published code (xupine/LandslideNet on GitHub).
The encoder there is ResNet-101 with an output stride of 16; the maps behind its stem (stride 2) and its stages 1
(stride 4), 2 (stride 8) and 4 (stride 16) are used.

Two things differ. Maps are resized between pixel centres; the code does so between corners, which moves pixels by an
amount that depends on the tile's size. Convolutions in front of a batch norm have no bias: the norm makes it idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.decoders.aspp import AtrousPyramid
from kda_edge.decoders.decoder_layers import CLASSES

STRIDES_PX: Final = (2, 4, 8, 16)
DILATIONS_PX: Final = (6, 12, 18)
# Dilations of the three blocks of ResNet-101's last stage: 2 for the stride that it lost, times 1, 2, 4.
MULTI_GRID: Final = (2, 4, 8)
WIDTH: Final = 256
FORK_WIDTHS: Final = (48, 96, 192)  # at strides 2, 4 and 8


class Gate(nn.Module):
    """A map, reduced, with the places kept that the next coarser map agrees on.

    Args:
        guide_channels: of the coarser map.
        own_channels: of the map.
        width: channels of the result.
    """

    def __init__(self, guide_channels: int, own_channels: int, width: int) -> None:
        super().__init__()
        self.guide, self.own = _convolution(guide_channels, width), _convolution(own_channels, width)
        self.share = nn.Sequential(*_convolution(width, 1), nn.Sigmoid())

    def forward(self, guide: Tensor, own: Tensor) -> Tensor:
        """Return (B, width, H, W) from two maps of one size."""
        reduced = self.own(own)
        kept: Tensor = reduced * self.share(F.relu(self.guide(guide) + reduced))
        return kept


class TriangleFork(nn.Module):
    """Adaptive triangle fork: a map, what is coarser and what is finer, weighed pixel by pixel and joined.

    Args:
        level: index into the strides of the map that the fork belongs to.
        channels: of the four maps, finest first.
        width: channels that each map is reduced to.
    """

    def __init__(self, level: int, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.level = level
        self.coarser = list(range(len(channels) - 1, level, -1))
        self.finer = list(range(level - 1, -1, -1))
        self.gate = Gate(channels[level + 1], channels[level], width)
        self.reduce = nn.ModuleDict(
            {str(k): nn.Sequential(*_convolution(channels[k], width), nn.ReLU()) for k in self.coarser + self.finer}
        )
        others = (len(channels) - 1) * width
        groups = 2 if self.finer else 1
        self.weigh = nn.Sequential(
            *_convolution(others, others // 2, kernel_size=3, padding=1),
            nn.ReLU(),
            *_convolution(others // 2, groups),
            nn.Sigmoid(),
        )
        self.out_channels = others + width
        narrow = self.out_channels // 3
        self.refine = nn.Sequential(
            nn.Conv2d(self.out_channels, narrow, kernel_size=1, bias=False),
            *_convolution(narrow, narrow, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(narrow, self.out_channels, kernel_size=1, bias=False),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, out_channels, h, w) at this level's stride."""
        here = STRIDES_PX[self.level]
        kept = self.gate(_resized(maps[self.level + 1], STRIDES_PX[self.level + 1], here), maps[self.level])
        # Reduced first and resized then, as both are cheaper that way round.
        others = {k: _resized(self.reduce[str(k)](maps[k]), STRIDES_PX[k], here) for k in self.coarser + self.finer}
        coarser = torch.cat([others[k] for k in self.coarser], dim=1)
        finer = [torch.cat([others[k] for k in self.finer], dim=1)] if self.finer else []
        weights = self.weigh(torch.cat((coarser, *finer), dim=1))
        weighed = [group * weights[:, k : k + 1] for k, group in enumerate((coarser, *finer))]
        joined = torch.cat((kept, *weighed), dim=1)
        refined: Tensor = joined + self.refine(joined)
        return refined


class MffenetDecoder(nn.Module):
    """Four maps -> class logits at stride 2: a pyramid over the coarsest map, three forks, a dense way up.

    Args:
        channels: of the maps at strides 2, 4, 8 and 16.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.pyramid = AtrousPyramid(channels[-1], WIDTH, DILATIONS_PX, dropout=0.5)
        seen = (*channels[:-1], WIDTH)  # the forks see the pyramid in place of the coarsest map
        self.forks = nn.ModuleList(TriangleFork(level, seen, width) for level, width in enumerate(FORK_WIDTHS))
        widths = [4 * width for width in FORK_WIDTHS]  # each fork joins four maps
        self.rise = nn.ModuleList(
            nn.Sequential(*_convolution(width + (3 - level) * WIDTH, WIDTH, kernel_size=3, padding=1), nn.ReLU())
            for level, width in enumerate(widths)
        )
        self.classify = nn.Sequential(
            *_convolution(4 * WIDTH, WIDTH, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.5),
            *_convolution(WIDTH, WIDTH, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(WIDTH, CLASSES, kernel_size=1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return class logits, (B, 2, H / 2, W / 2), from the image and the encoder's maps at strides 2 to 32.

        The last two maps have the same stride, 16; only the last one is used.
        """
        seen = [*maps[1:4], self.pyramid(maps[-1])]
        risen = {3: seen[3]}  # by level, coarsest first
        for level in (2, 1, 0):
            above = [_resized(risen[k], STRIDES_PX[k], STRIDES_PX[level]) for k in sorted(risen)]
            risen[level] = self.rise[level](torch.cat((self.forks[level](seen), *above), dim=1))
        finest = [_resized(risen[k], STRIDES_PX[k], STRIDES_PX[0]) for k in sorted(risen)]
        logits: Tensor = self.classify(torch.cat(finest, dim=1))
        return logits


def with_multi_grid(encoder: Any) -> nn.Module:
    """Give the blocks of a ResNet's last stage the dilations of `MULTI_GRID`; changes and returns `encoder`."""
    for block, dilation_px in zip(encoder.layer4, MULTI_GRID, strict=True):
        block.conv2.dilation = block.conv2.padding = (dilation_px, dilation_px)
    dilated: nn.Module = encoder
    return dilated


def _resized(x: Tensor, from_stride_px: int, to_stride_px: int) -> Tensor:
    if from_stride_px == to_stride_px:
        return x
    return F.interpolate(x, scale_factor=from_stride_px / to_stride_px, mode="bilinear", align_corners=False)


def _convolution(in_channels: int, out_channels: int, kernel_size: int = 1, padding: int = 0) -> nn.Sequential:
    """Return a convolution with its batch norm."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
