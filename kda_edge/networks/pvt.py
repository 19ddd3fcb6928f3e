"""PVT v1: the student's encoder, four maps at strides 4, 8, 16 and 32.

Source: Wang et al. 2021, "Pyramid Vision Transformer", arXiv:2102.12122; the widths and depths are those of the
published KDA models (doi 10.1109/LGRS.2025.3597685). The state dict has the published key names, so that weights
travel both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kda_edge.errors import UnsupportedSize
from kda_edge.manifest import STRIDE_PX

NATIVE_PX: Final = 224  # the image side that the learned position embeddings are stored for
STRIDES_PX: Final = (4, 8, 16, 32)
MLP_RATIOS: Final = (8, 8, 4, 4)
REDUCTIONS: Final = (8, 4, 2, 1)  # side of the patch that keys and values are pooled over


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a residual branch for whole samples and rescale the rest.

    Attributes:
        share: where several processes share a batch: its size, and which of its rows are here; the draws are then those
            of the whole batch.

    Source: Huang et al. 2016, arXiv:1603.09382.
    """

    share: tuple[int, slice] | None = None

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        if self.rate == 0.0 or not self.training:
            return x
        total, rows = self.share or (x.shape[0], slice(None))
        keep = torch.rand(total, 1, 1, device=x.device)[rows] >= self.rate
        return x * (keep / (1.0 - self.rate)).to(x.dtype)


class Attention(nn.Module):
    """Multi-head attention whose keys and values come from a spatially reduced map."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, kernel_size=reduction, stride=reduction)
            self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(B, N, C) -> (B, N, C), where N = H * W of `grid_hw`."""
        batch, tokens, dim = x.shape
        head_dim = dim // self.heads
        query = self.q(x).reshape(batch, tokens, self.heads, head_dim).transpose(1, 2)
        source = x
        if self.reduction > 1:
            image = x.transpose(1, 2).reshape(batch, dim, *grid_hw)
            source = self.norm(self.sr(image).flatten(2).transpose(1, 2))
        key_value = self.kv(source).reshape(batch, -1, 2, self.heads, head_dim).permute(2, 0, 3, 1, 4)
        scores = (query * head_dim**-0.5) @ key_value[0].transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ key_value[1]
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return out


class Mlp(nn.Module):
    """Two linear layers around an exact (erf) GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid_hw))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """Cut a map into patches, one token each."""

    def __init__(self, in_channels: int, dim: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size=patch_px, stride=patch_px)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, C, H, W) -> tokens (B, N, D) and their grid (H / patch, W / patch)."""
        patches = self.proj(image)
        tokens: Tensor = self.norm(patches.flatten(2).transpose(1, 2))
        return tokens, (patches.shape[2], patches.shape[3])


class PyramidVisionTransformer(nn.Module):
    """The encoder: (B, 3, H, W) normalised -> four maps (B, C_k, H / s_k, W / s_k), s = 4, 8, 16, 32.

    Args:
        dims: channels of the four stages.
        heads: attention heads of the four stages.
        depths: blocks of the four stages.
        drop_path: stochastic depth of the last block; it rises linearly from 0 over all blocks.
    """

    def __init__(self, dims: Sequence[int], heads: Sequence[int], depths: Sequence[int], drop_path: float) -> None:
        super().__init__()
        self.recompute = False  # in training, give up memory for time: blocks are run again in the backward pass
        self.position_grids_hw = [(NATIVE_PX // stride, NATIVE_PX // stride) for stride in STRIDES_PX]
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        first = 0
        for stage in range(4):
            embed = PatchEmbed(3 if stage == 0 else dims[stage - 1], dims[stage], 4 if stage == 0 else 2)
            blocks = [
                Block(dims[stage], heads[stage], MLP_RATIOS[stage], REDUCTIONS[stage], rates[first + i])
                for i in range(depths[stage])
            ]
            first += depths[stage]
            rows, cols = self.position_grids_hw[stage]
            # Stage 4 stores one leading row that it never uses: the slot of a class token in the published model.
            tokens = rows * cols + (1 if stage == 3 else 0)
            self.add_module(f"patch_embed{stage + 1}", embed)
            self.register_parameter(f"pos_embed{stage + 1}", nn.Parameter(torch.zeros(1, tokens, dims[stage])))
            self.add_module(f"block{stage + 1}", nn.ModuleList(blocks))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights: truncated normal for linears and positions, as PVT does; convolutions by fan-out."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for stage in range(1, 5):
            nn.init.trunc_normal_(self.get_parameter(f"pos_embed{stage}"), std=0.02)

    def position_embedding(self, stage: int, grid_hw: tuple[int, int]) -> Tensor:
        """Return the position embedding of `stage` (0..3) for a grid of tokens, (1, H * W, C).

        Each stage is compared with its **own** stored grid. (The published code compares all four with stage 1's.)
        """
        learned: Tensor = self.get_parameter(f"pos_embed{stage + 1}")
        stored_hw = self.position_grids_hw[stage]
        learned = learned[:, learned.shape[1] - stored_hw[0] * stored_hw[1] :]
        if grid_hw == stored_hw:
            return learned
        image = learned.transpose(1, 2).reshape(1, -1, *stored_hw)
        resized = F.interpolate(image, size=grid_hw, mode="bilinear", align_corners=False)
        return resized.flatten(2).transpose(1, 2)

    @torch.no_grad()
    def fix_size(self, height_px: int, width_px: int) -> None:
        """Store the position embeddings for one image size, in place; other sizes then resize from these."""
        require_supported_size(height_px, width_px)
        for stage, stride in enumerate(STRIDES_PX):
            grid_hw = (height_px // stride, width_px // stride)
            fixed = self.position_embedding(stage, grid_hw).detach().clone(memory_format=torch.contiguous_format)
            self.register_parameter(f"pos_embed{stage + 1}", nn.Parameter(fixed))
            self.position_grids_hw[stage] = grid_hw

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the maps of the four stages, finest first.

        Raises:
            UnsupportedSize: a side is no multiple of 32.
        """
        require_supported_size(image.shape[2], image.shape[3])
        maps: list[Tensor] = []
        current = image
        for stage in range(4):
            tokens, grid_hw = self.get_submodule(f"patch_embed{stage + 1}")(current)
            tokens = tokens + self.position_embedding(stage, grid_hw)
            for block in self.get_submodule(f"block{stage + 1}").children():
                if self.recompute and self.training:
                    tokens = checkpoint(block, tokens, grid_hw, use_reentrant=False)
                else:
                    tokens = block(tokens, grid_hw)
            current = tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid_hw)
            maps.append(current)
        return maps


def require_supported_size(height_px: int, width_px: int) -> None:
    """Raise `UnsupportedSize` unless both sides are multiples of 32 px above 0."""
    if height_px % STRIDE_PX or width_px % STRIDE_PX or height_px < STRIDE_PX or width_px < STRIDE_PX:
        raise UnsupportedSize(height_px=height_px, width_px=width_px, multiple_px=STRIDE_PX)
