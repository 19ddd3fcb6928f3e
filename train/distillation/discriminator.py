"""The discriminator of KDA: tells teacher's from student's feature maps, through a frozen vision model.

Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-A: learned layers turn a feature map into a pseudo-image, a
frozen DINOv2-B looks at it, and a multilevel convolutional head gives one score an image. What the paper leaves open
is decided here:

- **One door (input layers) for both, or one a role.** What comes before the frozen backbone is never chosen by the
  number of channels, as in the published code (two maps may have the same). With a door a role the discriminator can
  tell the two apart without looking: the doors learn different constants, and the student can do nothing about it (a
  test shows it on equal maps). Since the student's map has been brought to the teacher's channels, both take one
  `shared` door by default (docs/adr/0004).
- **Group norm, no batch norm.** Statistics over a batch would see teacher and student apart and tell them apart.
- **The score is a probability.** The discriminator maximises a squared difference, which has no largest value
  unless the scores are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frozen_backbones import FrozenBackbone

ROLES: Final = ("teacher", "student")
DOOR_WIDTH: Final = 64
HEAD_WIDTH: Final = 64
SHUFFLE: Final = 4  # the door works at a quarter of the pseudo-image's side


class PseudoImageLayers(nn.Module):
    """The learned layers from a feature map to a pseudo-image of 0..1: a door of the discriminator."""

    def __init__(self, channels: int, image_px: int) -> None:
        super().__init__()
        self.side = image_px // SHUFFLE
        self.before = nn.Sequential(nn.Conv2d(channels, DOOR_WIDTH, 1), nn.GroupNorm(8, DOOR_WIDTH), nn.GELU())
        self.after = nn.Sequential(
            nn.Conv2d(DOOR_WIDTH, DOOR_WIDTH, 3, padding=1),
            nn.GroupNorm(8, DOOR_WIDTH),
            nn.GELU(),
            nn.Conv2d(DOOR_WIDTH, 3 * SHUFFLE**2, 1),
            nn.PixelShuffle(SHUFFLE),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, S, S)."""
        enlarged = F.interpolate(self.before(features), size=(self.side, self.side), mode="bilinear")
        return torch.sigmoid(self.after(enlarged))


class Discriminator(nn.Module):
    """Score feature maps, 0..1 an image.

    Args:
        backbone: frozen; several levels serve the multilevel head.
        channels: of the maps that both roles show.
        image_px: side of the pseudo-image; a multiple of 4 that the backbone takes.
        doors: `shared` by both roles, or one a `role`.
    """

    def __init__(self, backbone: FrozenBackbone, channels: int, image_px: int, doors: str = "shared") -> None:
        super().__init__()
        self.backbone = backbone
        names = ROLES if doors == "role" else (doors,)
        self.doors = nn.ModuleDict({name: PseudoImageLayers(channels, image_px) for name in names})
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(level[0], HEAD_WIDTH, 1),
                nn.GroupNorm(8, HEAD_WIDTH),
                nn.LeakyReLU(0.2),
                nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, padding=1),
                nn.LeakyReLU(0.2),
            )
            for level in backbone.shapes(image_px)
        )
        self.score = nn.Linear(HEAD_WIDTH * len(self.levels), 1)

    def forward(self, features: Sequence[Tensor], roles: Sequence[str]) -> list[Tensor]:
        """Return the scores of several maps, each (B,), 0..1.

        Args:
            features: maps (B, C, h, w).
            roles: who made each of them, of `ROLES`.
        """
        names = roles if len(self.doors) > 1 else ["shared"] * len(roles)
        images = torch.cat([self.doors[name](one) for one, name in zip(features, names, strict=True)])
        maps = self.backbone(images)
        pooled = [level(one).mean(dim=(2, 3)) for level, one in zip(self.levels, maps, strict=True)]
        scores = torch.sigmoid(self.score(torch.cat(pooled, dim=1)).float())[:, 0]
        return list(torch.split(scores, [len(one) for one in features]))

    def learned(self) -> dict[str, Tensor]:
        """Return the state dict without the frozen backbone."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("backbone.")}
