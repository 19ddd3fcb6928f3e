"""Decoders of segmentation-models-pytorch, run with constant factors where the library asks for sizes.

The layers, and so the weights, are the library's. Its forward methods resize "to the size of that map", which leaves
Shape operators and batch-dependent sizes in an exported graph; these say "by that factor", with the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.decoders.aspp import PooledContext
from kda_edge.decoders.decoder_layers import upsample


class UnetSteps(nn.Module):
    """The decoder of `smp.Unet`: up by 2 (nearest), join the skip, convolve twice; repeat.

    Args:
        decoder: of the library's model, without a centre block.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.blocks = decoder.blocks

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, C, H, W) from the image and the maps at strides 2, 4, 8, ..., finest first."""
        coarsest, *skips = reversed(maps[1:])
        x = coarsest
        for block, skip in zip(self.blocks, [*skips, None], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            if skip is not None:
                x = block.attention1(torch.cat((x, skip), dim=1))
            x = block.attention2(block.conv2(block.conv1(x)))
        return x


class SegformerSteps(nn.Module):
    """The decoder of `smp.Segformer`: unify the maps' channels, bring all to stride 4, fuse.

    Args:
        decoder: of the library's model.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.mlp_stage, self.fuse_stage = decoder.mlp_stage, decoder.fuse_stage

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (B, C, H / 4, W / 4) from the image, an empty map, and the maps at strides 4, 8, 16 and 32."""
        coarse_to_fine = list(reversed(maps[2:]))
        unified = [unify(x) for unify, x in zip(self.mlp_stage, coarse_to_fine, strict=True)]
        aligned = [upsample(x, factor) for x, factor in zip(unified[:-1], (8, 4, 2), strict=True)]
        fused: Tensor = self.fuse_stage(torch.cat((*aligned, unified[-1]), dim=1))
        return fused


def deeplabv3plus_steps(decoder: Any) -> nn.Module:
    """Return the decoder of `smp.DeepLabV3Plus` with its pooled branch spread and its map raised by constants.

    The library raises the map between its corners (`align_corners=True`): how far a pixel moves then depends on the
    size of the tile. Here it is raised between pixel centres, as everything in kda-edge is.
    """
    views = decoder.aspp[0].convs
    views[-1] = PooledContext(*views[-1])
    decoder.up = nn.Upsample(scale_factor=decoder.up.scale_factor, mode="bilinear", align_corners=False)
    steps: nn.Module = decoder
    return steps
