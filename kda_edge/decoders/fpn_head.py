"""A light head: a feature pyramid added up from coarse to fine, two cheap convolutions, no sampling by position."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import CLASSES, landslide_minus_background, upsample


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
