"""Layers that the decoder heads of Table IV share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 2  # background, landslide


def convolution_norm_relu(
    in_channels: int, out_channels: int, kernel_px: int = 1, *, bias: bool = True
) -> nn.Sequential:
    """Return convolution, batch norm and ReLU that keep the map's size.

    Args:
        in_channels: of the map.
        out_channels: of the result.
        kernel_px: odd.
        bias: of the convolution; the norm makes it idle, but the published heads have it and count it.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_px, padding=kernel_px // 2, bias=bias),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def upsample(x: Tensor, scale: int) -> Tensor:
    """(B, C, H, W) -> (B, C, s * H, s * W), bilinear between pixel centres.

    By factor and not by size: the graph then holds the factor as a constant, and no Shape operator asks for the batch.
    """
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def landslide_minus_background(class_logits: Tensor) -> Tensor:
    """(B, 2, H, W) -> (B, 1, H, W); before an upsampling, which is linear, this halves what is upsampled."""
    return class_logits[:, 1:] - class_logits[:, :1]
