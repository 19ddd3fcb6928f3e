"""U-Net's decoder: double the resolution, join the encoder's map of that resolution, convolve twice; repeat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import CLASSES, convolution_norm_relu, landslide_minus_background, upsample


def double_convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions, each with batch norm and ReLU."""
    return nn.Sequential(
        convolution_norm_relu(in_channels, out_channels, kernel_px=3),
        convolution_norm_relu(out_channels, out_channels, kernel_px=3),
    )


class UNetHead(nn.Module):
    """Source: Ronneberger et al. 2015, arXiv:1505.04597, with padded convolutions and batch norm.

    The encoder has no map at stride 2, so the last step joins none; it halves the channels once more. The classes are
    told apart there, at stride 2.

    The KDA paper gives 35.52 GFLOPs for the whole model. This is the network that its published code holds, which has
    the paper's 12.16 M parameters and counts 33.04.

    Args:
        in_channels: channels of the four maps, finest first; the first is even.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        coarse_to_fine = list(reversed(in_channels))
        steps = list(itertools.pairwise(coarse_to_fine))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(above, here, kernel_size=2, stride=2) for above, here in steps)
        self.join = nn.ModuleList(double_convolution(2 * here, here) for _, here in steps)
        finest = in_channels[0] // 2
        self.rise.append(nn.ConvTranspose2d(in_channels[0], finest, kernel_size=2, stride=2))
        self.join.append(double_convolution(finest, finest))
        self.classify = nn.Conv2d(finest, CLASSES, kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the landslide logit, (B, 1, H, W), from maps at strides 4, 8, 16 and 32."""
        coarsest, *skips = reversed(maps)
        x = coarsest
        for step, (rise, join) in enumerate(zip(self.rise, self.join, strict=True)):
            x = rise(x)
            x = join(torch.cat((x, skips[step]), dim=1) if step < len(skips) else x)
        return upsample(landslide_minus_background(self.classify(x)), 2)
