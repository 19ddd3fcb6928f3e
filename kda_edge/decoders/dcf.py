"""DCF: the decoder that fuses the encoder's four maps by dynamic cross-layer weights.

Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-B, in the form of the published code (class
`Decoder_DSMSFF`), which alone has the parameters of the paper's Table IV. The attribute names are those of the
published state dict.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kda_edge.decoders.dysample import GROUPS, DySample

GATE_REDUCTION = 16


class Gate(nn.Module):
    """Weight the channels of a map by its own global average, each weight 0..1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // GATE_REDUCTION
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C)."""
        weights: Tensor = self.fc(x.mean(dim=(2, 3)))
        return weights


class DcfDecoder(nn.Module):
    """Fuse four maps into one and sample it to the image's size.

    Args:
        in_channels: channels of the four maps, finest first; the first equals `width`.
        width: channels that all maps are brought to, a multiple of 16.
    """

    def __init__(self, in_channels: Sequence[int], width: int) -> None:
        super().__init__()
        if in_channels[0] != width:
            raise ValueError(f"the decoder's width {width} must equal the channels of stage 1, {in_channels[0]}")
        for stage in (2, 3, 4):
            self.add_module(f"CG{stage}", nn.Sequential(nn.Conv2d(in_channels[stage - 1], width, 1), nn.GELU()))
        for stage in (1, 2, 3, 4):
            self.add_module(f"GAP{stage}", Gate(width))
        self.UP1 = DySample(width, 4)  # to the image's size
        self.UP2 = DySample(width, 2)  # stride 8 to 4
        self.UP3 = DySample(width, 2)  # stride 16 to 8
        self.UP4 = DySample(width, 2)  # stride 32 to 16
        self.head = nn.Conv2d(width, 2, 1)

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the fused map at stride 4, (B, width, H / 4, W / 4), from the encoder's four maps."""
        unified = [maps[0], *(self.get_submodule(f"CG{k}")(maps[k - 1]) for k in (2, 3, 4))]
        gates = torch.stack([self.get_submodule(f"GAP{k}")(x) for k, x in enumerate(unified, 1)])
        shares = gates.softmax(dim=0)[:, :, :, None, None]  # over the stages, per channel
        weighted = [share * x for share, x in zip(shares, unified, strict=True)]
        fused = weighted[2] + self.UP4(weighted[3])
        fused = weighted[1] + self.UP3(fused)
        finest: Tensor = weighted[0] + self.UP2(fused)
        return finest

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the landslide logit (landslide minus background), (B, 1, H, W).

        The head goes **before** the last sampling: bilinear sampling is linear and its weights sum to one, so
        `head(sample(x)) = bias + sum over groups of sample_g(W_g x_g)`. Four channels are sampled to full
        resolution instead of all of them (docs/adr/0003). `forward_plain` is the order that this equals.
        """
        fused = self.fuse(maps)
        batch, channels, height, width = fused.shape
        weight = (self.head.weight[1] - self.head.weight[0]).reshape(1, GROUPS, channels // GROUPS, 1, 1)
        projected = (fused.reshape(batch, GROUPS, channels // GROUPS, height, width) * weight).sum(dim=2)
        sampled = self.UP1.sample(projected, self.UP1.positions(fused))
        bias = self.head.bias
        if bias is None:
            raise TypeError("the head has lost its bias")
        return sampled.sum(dim=1, keepdim=True) + (bias[1] - bias[0])

    def forward_plain(self, maps: Sequence[Tensor]) -> Tensor:
        """Return both class logits in the published order of steps, (B, 2, H, W): background, landslide."""
        logits: Tensor = self.head(self.UP1(self.fuse(maps)))
        return logits
