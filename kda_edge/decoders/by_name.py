"""Decoder heads by name: those that Table IV compares with DCF, and a light one, on the same four maps.

Each takes the encoder's maps at strides 4, 8, 16 and 32 and returns the landslide logit (landslide minus background)
at the image's size, (B, 1, H, W). Structure and widths of Table IV's are those of the published code of KDA (doi
10.1109/LGRS.2025.3597685), which the paper counts at base size; at other sizes the widths follow the encoder's.
Bilinear resizing is between pixel centres throughout (`align_corners=False`), where the published code mixes both
conventions: the maps then lie where the image's pixels do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

from torch import nn

from kda_edge.decoders.fpn_heads import FpnHead, UperNetHead
from kda_edge.decoders.segformer_head import SegFormerHead
from kda_edge.decoders.segnext_head import SegNeXtHead
from kda_edge.decoders.unet_head import UNetHead

HEADS: Final[MappingProxyType[str, Callable[[Sequence[int]], nn.Module]]] = MappingProxyType(
    {
        "unet": UNetHead,
        "segformer": SegFormerHead,
        "segnext": SegNeXtHead,
        "upernet": UperNetHead,
        "fpn": FpnHead,
    }
)
