"""The student: PVT encoder and DCF decoder, in six sizes; or, to compare, another head on the same encoder."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torch import Tensor

from kda_edge.decoders.by_name import HEADS
from kda_edge.decoders.dcf import DcfDecoder
from kda_edge.errors import UsageError
from kda_edge.networks.network import Network
from kda_edge.networks.pvt import PyramidVisionTransformer

DROP_PATH: Final = 0.1


@dataclass(frozen=True)
class VariantSpec:
    """A size of the student.

    Attributes:
        dims: channels of the four stages.
        heads: attention heads of the four stages.
        depths: transformer blocks of the four stages.
        decoder_width: channels of the decoder.
    """

    dims: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    decoder_width: int


# `nano` is ours, for small machines; the others are the published ones (`base` is the paper's).
VARIANTS: Final = MappingProxyType(
    {
        "nano": VariantSpec((32, 64, 160, 256), (1, 2, 5, 8), (2, 2, 2, 2), 32),
        "tiny": VariantSpec((128, 256, 512, 1024), (1, 2, 4, 8), (1, 1, 2, 1), 128),
        "base": VariantSpec((128, 256, 512, 1024), (1, 2, 4, 8), (2, 4, 6, 2), 128),
        "large": VariantSpec((192, 384, 768, 1536), (1, 2, 4, 8), (1, 2, 4, 1), 192),
        "xlarge": VariantSpec((256, 512, 1024, 2048), (1, 2, 4, 8), (1, 2, 4, 2), 256),
        "huge": VariantSpec((128, 256, 512, 1024), (1, 2, 4, 8), (4, 10, 16, 6), 128),
    }
)


def require_student(variant: str) -> None:
    """Raise `UsageError` unless there are such a size and head."""
    size, _, head = variant.partition("+")
    if size not in VARIANTS:
        raise UsageError(f"there is no student {size!r}; choose one of {', '.join(VARIANTS)}")
    if head not in HEADS and variant != size:
        raise UsageError(f"there is no head {head!r}; choose one of {', '.join(HEADS)}, or none for DCF")


class Student(Network):
    """A landslide segmentation student.

    Args:
        variant: a key of `VARIANTS` for the DCF decoder, or `<key>+<head>` with a key of `HEADS` for another head.

    Raises:
        UsageError: no such variant or head.
    """

    encoder: PyramidVisionTransformer

    def __init__(self, variant: str) -> None:
        super().__init__()
        require_student(variant)
        size, _, head = variant.partition("+")
        spec = VARIANTS[size]
        self.variant = variant
        self.encoder = PyramidVisionTransformer(spec.dims, spec.heads, spec.depths, DROP_PATH)
        self.decoder = HEADS[head](spec.dims) if head else DcfDecoder(spec.dims, spec.decoder_width)

    def forward(self, image: Tensor) -> Tensor:
        """Return the landslide logit (landslide minus background), (B, 1, H, W).

        Args:
            image: normalised, (B, 3, H, W), both sides multiples of 32.

        Raises:
            UnsupportedSize: a side is no multiple of 32.
        """
        logit: Tensor = self.decoder(self.encoder(image))
        return logit

    def forward_plain(self, image: Tensor) -> Tensor:
        """Return both class logits in the published order of steps, (B, 2, H, W); slower, equal (docs/adr/0003)."""
        if not isinstance(self.decoder, DcfDecoder):
            raise TypeError(f"{self.variant} has no DCF decoder, whose steps alone have two orders")
        return self.decoder.forward_plain(self.encoder(image))

    def at_size(self, height_px: int, width_px: int) -> Student:
        """Return a copy whose position embeddings are stored for one image size: no resizing is left in its graph."""
        fixed = copy.deepcopy(self)
        fixed.encoder.fix_size(height_px, width_px)
        return fixed
