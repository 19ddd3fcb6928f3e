"""MSCAN, the encoder of SegNeXt: attention from depth-wise strip convolutions of several lengths.

Source: Guo et al. 2022, "SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation",
arXiv:2209.08575, section 3.1 and table 2. The state dict has the published key names, so that published ImageNet
weights load; all but those of the norm behind stage 1, which SegNeXt's decoder never reads: a weight that gets no
gradient would stop distributed training.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from kda_edge.networks.pvt import DropPath, require_supported_size

STRIPS_PX: Final = (7, 11, 21)
BRANCH_SCALE: Final = 1e-2  # what the scale of each residual branch starts from
MLP_RATIOS: Final = (8, 8, 4, 4)


@dataclass(frozen=True)
class MscanSpec:
    """A size of MSCAN.

    Attributes:
        dims: channels of the four stages.
        depths: blocks of the four stages.
        drop_path: rate of stochastic depth at the last block.
    """

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    drop_path: float = 0.1


MSCANS: Final = MappingProxyType(
    {
        "tiny": MscanSpec((32, 64, 160, 256), (3, 3, 5, 2)),
        "small": MscanSpec((64, 128, 320, 512), (2, 2, 4, 2)),
        "base": MscanSpec((64, 128, 320, 512), (3, 3, 12, 3)),
        "large": MscanSpec((64, 128, 320, 512), (3, 5, 27, 3), drop_path=0.3),
    }
)


class MapDropPath(DropPath):
    """Stochastic depth on maps instead of tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if self.rate == 0.0 or not self.training:
            return x
        return super().forward(x.flatten(2)).reshape(x.shape)


def _depthwise(dim: int, kernel_hw: tuple[int, int]) -> nn.Conv2d:
    return nn.Conv2d(dim, dim, kernel_hw, padding=(kernel_hw[0] // 2, kernel_hw[1] // 2), groups=dim)


class StripAttention(nn.Module):
    """A map weighted, element by element, by what lies around: 5 x 5, then strips of 7, 11 and 21 px in a cross."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = _depthwise(dim, (5, 5))
        for index, length_px in enumerate(STRIPS_PX):
            self.add_module(f"conv{index}_1", _depthwise(dim, (1, length_px)))
            self.add_module(f"conv{index}_2", _depthwise(dim, (length_px, 1)))
        self.conv3 = nn.Conv2d(dim, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        near: Tensor = self.conv0(x)
        around = near
        for index in range(len(STRIPS_PX)):
            across = self.get_submodule(f"conv{index}_1")(near)
            around = around + self.get_submodule(f"conv{index}_2")(across)
        weighted: Tensor = self.conv3(around) * x
        return weighted


class SpatialAttention(nn.Module):
    """Strip attention between two 1 x 1 convolutions, around a shortcut."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, kernel_size=1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = StripAttention(dim)
        self.proj_2 = nn.Conv2d(dim, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        attended: Tensor = self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x))))
        return attended + x


class ConvolutionalMlp(nn.Module):
    """Two 1 x 1 convolutions with a depth-wise 3 x 3 and a GELU in between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, kernel_size=1)
        self.dwconv = nn.Sequential(OrderedDict(dwconv=_depthwise(hidden, (3, 3))))
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        out: Tensor = self.fc2(self.act(self.dwconv(self.fc1(x))))
        return out


class Block(nn.Module):
    """Attention and MLP, each behind a batch norm, scaled, and added to its input."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = SpatialAttention(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = ConvolutionalMlp(dim, mlp_ratio * dim)
        self.drop_path = MapDropPath(drop_path)
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), BRANCH_SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), BRANCH_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.drop_path(self.layer_scale_1.reshape(1, -1, 1, 1) * self.attn(self.norm1(x)))
        mixed: Tensor = x + self.drop_path(self.layer_scale_2.reshape(1, -1, 1, 1) * self.mlp(self.norm2(x)))
        return mixed


class Stem(nn.Module):
    """A quarter of the resolution, in two steps."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            _halving(3, dim // 2), nn.BatchNorm2d(dim // 2), nn.GELU(), _halving(dim // 2, dim), nn.BatchNorm2d(dim)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 4, W / 4)."""
        x: Tensor = self.proj(image)
        return x


class PatchEmbedding(nn.Module):
    """Half the resolution, by overlapping patches of 3 x 3 px."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = _halving(in_channels, dim)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H / 2, W / 2)."""
        halved: Tensor = self.norm(self.proj(x))
        return halved


def _halving(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=2, padding=1)


class Mscan(nn.Module):
    """MSCAN: image -> four maps at strides 4, 8, 16 and 32; the last three with a layer norm over their channels."""

    def __init__(self, spec: MscanSpec) -> None:
        super().__init__()
        self.dims = spec.dims
        rates = torch.linspace(0.0, spec.drop_path, sum(spec.depths), device="cpu").tolist()
        before = 0
        for stage, (dim, depth, ratio) in enumerate(zip(spec.dims, spec.depths, MLP_RATIOS, strict=True), 1):
            self.add_module(f"patch_embed{stage}", PatchEmbedding(before, dim) if before else Stem(dim))
            self.add_module(f"block{stage}", nn.Sequential(*(Block(dim, ratio, rates.pop(0)) for _ in range(depth))))
            if stage > 1:
                self.add_module(f"norm{stage}", nn.LayerNorm(dim, eps=1e-5))
            before = dim
        self.apply(_initialise)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return maps at strides 4, 8, 16 and 32 with the channels of `dims`.

        Raises:
            UnsupportedSize: a side is no multiple of 32.
        """
        require_supported_size(*image.shape[2:])
        maps = []
        x = image
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"block{stage}")(self.get_submodule(f"patch_embed{stage}")(x))
            if stage > 1:  # the next stage goes on from the normed map
                x = self.get_submodule(f"norm{stage}")(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            maps.append(x)
        return maps


def _initialise(module: nn.Module) -> None:
    """Draw convolutions with a deviation of sqrt(2 / fan out), as the published code does."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
