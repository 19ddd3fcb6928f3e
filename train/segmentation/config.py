"""Settings of phase 2, segmentation; the defaults are the paper's where it gives any."""

from __future__ import annotations

from dataclasses import dataclass, field

from kda_edge.errors import UsageError

from ..loops.settings import RunSettings, require_side
from .losses import LossWeights
from .teachers import TeacherSettings


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(RunSettings):
    """All that decides the weights of a run, given its data: `RunSettings`, and these.

    Attributes:
        init: checkpoint to start from; empty: fresh weights.
        backbone: distilled backbone for the encoder; empty: that of `init`, or fresh.
        encoder_weights: of a peer's or timm's encoder: `imagenet`, or a state dict; empty: fresh.
        finish_px: side of the crops in the last `finish_epochs` epochs, and of the tiles that the student is for.
        finish_epochs: epochs at the end with crops of `finish_px`; 0: `crop_px` throughout.
        backbone_rate: first and last learning rate of the encoder.
        decoder_rate: first and last learning rate of the decoder.
        average: share of the averaged weights that survives a step; 0: no averaging.
        loss: weights of the terms of the loss.
        landslide_share: share of the crops of an image with landslide that are placed on it, 0 to 1; left out: half of
            those of a scene, and those of other images lie anywhere.
        teachers: students whose answers are learned beside the labels.
        evaluate_every: epochs from one judgement on the val groups to the next; the last epoch is always judged.
        patience: epochs without a better val IoU after which the run ends; 0: it never ends early.
    """

    batch: int = 16
    crop_px: int = 512
    init: str = ""
    backbone: str = ""
    encoder_weights: str = ""
    finish_px: int = 512
    finish_epochs: int = 0
    backbone_rate: tuple[float, float] = (5e-6, 5e-9)
    decoder_rate: tuple[float, float] = (5e-4, 5e-6)
    average: float = 0.0
    loss: LossWeights = field(default_factory=LossWeights)
    landslide_share: float | None = None
    teachers: TeacherSettings = field(default_factory=TeacherSettings)
    evaluate_every: int = 1
    patience: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_side("finish_px", self.finish_px)
        if self.evaluate_every < 1 or not 0 <= self.finish_epochs <= self.epochs:
            raise UsageError("evaluate_every must be 1 or more, and finish_epochs at most epochs")
        if 0 < self.patience < self.evaluate_every:
            raise UsageError("patience must be at least evaluate_every: no other epoch can be better")
        if self.landslide_share is not None and self.landslide_share > 1:
            raise UsageError(f"landslide_share must lie between 0 and 1, not be {self.landslide_share:g}")
        if self.average >= 1:
            raise UsageError(f"average must lie below 1, not be {self.average:g}; try 0.999")
        if self.encoder_weights and (self.init or self.backbone):
            raise UsageError("give weights for the encoder once: init, backbone or encoder_weights")

    @property
    def tile_px(self) -> int:
        """Side of the tiles that the student is for."""
        return self.finish_px if self.finish_epochs else self.crop_px
