"""The student with necks, which bring its feature maps to the teacher's channels and grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.errors import UsageError
from kda_edge.networks.pvt import STRIDES_PX


class AlignedStudent(nn.Module):
    """The encoder with a neck a level: normalised image (B, 3, H, W) -> maps of the teacher's shapes.

    A neck is a 1x1 convolution; where the channels are equal there is none, as in the paper. The map is resized
    bilinearly, smoothed first where it shrinks.

    Args:
        encoder: of the student: image -> maps of strides 4 to 32.
        channels: of its four stages.
        shapes: (C, h, w) of the teacher's maps, shallowest first.
        stages: for each of them the student's stage, 0..3.
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: Sequence[int],
        shapes: Sequence[tuple[int, int, int]],
        stages: Sequence[int],
    ) -> None:
        super().__init__()
        self.encoder, self.shapes, self.stages = encoder, tuple(shapes), tuple(stages)
        self.necks = nn.ModuleList(
            nn.Conv2d(channels[stage], shape[0], 1) if channels[stage] != shape[0] else nn.Identity()
            for stage, shape in zip(stages, shapes, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised image -> maps (B, C, h, w), the last being O_S."""
        maps = self.encoder(image)
        aligned = []
        for neck, stage, (_, height, width) in zip(self.necks, self.stages, self.shapes, strict=True):
            x = neck(maps[stage])
            if x.shape[2:] != (height, width):
                # PyTorch's CPU has no antialiasing in bfloat16, which the neck answers in under autocast.
                x = F.interpolate(x.float(), size=(height, width), mode="bilinear", align_corners=False, antialias=True)
            aligned.append(x)
        return aligned


def matched_stages(shapes: Sequence[tuple[int, int, int]], crop_px: int) -> list[int]:
    """Return for each of the teacher's maps the student's stage that it teaches; the last teaches stage 4 always.

    Maps of different strides teach stages that rise with them, as near in octaves as can be in all: a teacher that is
    shown enlarged crops has finer strides than the student throughout. Maps of one stride, as a ViT has, are taken by
    depth.

    Raises:
        UsageError: there are more maps than stages.
    """
    if len(shapes) > len(STRIDES_PX):
        raise UsageError(f"{len(shapes)} maps don't fit {len(STRIDES_PX)} stages; leave --align stages out")
    strides_px = [crop_px / height for _, height, _ in shapes]
    if len(set(strides_px)) == 1:
        return list(range(len(STRIDES_PX) - len(shapes), len(STRIDES_PX)))

    def octaves_off(stages: tuple[int, ...]) -> float:
        return sum(abs(math.log2(STRIDES_PX[k] / s)) for k, s in zip(stages, strides_px, strict=False))

    return [*min(combinations(range(3), len(shapes) - 1), key=octaves_off), 3]
