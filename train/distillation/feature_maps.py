"""Feature maps of a network as a list, as a frozen backbone gives them, and which of its levels they are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor, nn

from kda_edge.networks.pvt import STRIDES_PX, PyramidVisionTransformer

LEVELS: Final = ("last", "stages")


class TimmFeatures(nn.Module):
    """The intermediate maps of a timm model, as NCHW, normed where the model ends in a norm."""

    def __init__(self, model: Any, indices: Sequence[int]) -> None:
        super().__init__()
        self.model, self.indices = model, list(indices)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised image -> maps."""
        maps: list[Tensor] = self.model.forward_intermediates(
            image, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps


class StudentFeatures(nn.Module):
    """The maps of a student's encoder."""

    def __init__(self, encoder: PyramidVisionTransformer, indices: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.indices = encoder, list(indices)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised image -> maps."""
        maps = self.encoder(image)
        return [maps[i] for i in self.indices]


def level_indices(strides: Sequence[int], levels: str) -> list[int]:
    """Return which of a network's maps are its `last` one, or its `stages`.

    Args:
        strides: of all its maps, px, shallowest first.
        levels: one of `LEVELS`; `stages` are the deepest map of each stride 4 to 32, or those of four evenly spaced
            blocks where all have one stride (ViT).
    """
    if levels == "last":
        return [len(strides) - 1]
    if len(set(strides)) == 1:
        count = min(4, len(strides))
        return [round((k + 1) * len(strides) / count) - 1 for k in range(count)]
    deepest = {stride: index for index, stride in enumerate(strides) if stride in STRIDES_PX}
    return [deepest[stride] for stride in sorted(deepest)]
