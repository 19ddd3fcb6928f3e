"""The settings of phase 2; the defaults are the paper's where it gives any."""

from __future__ import annotations

from dataclasses import dataclass, field

from kda_edge.errors import UsageError
from kda_edge.manifest import STRIDE_PX

from ..data.augmentation import Augmentation
from .losses import LossWeights


@dataclass(frozen=True)
class SegmentConfig:
    """All that decides the weights of a run, given its data.

    Attributes:
        variant: the network, by the name that `network_from_name` takes.
        init: checkpoint to start from; empty: fresh weights.
        backbone: distilled backbone for the encoder; empty: that of `init`, or fresh.
        encoder_weights: of a peer's encoder: `imagenet`, or a state dict; empty: fresh.
        epochs: passes over the training samples.
        batch: crops a step.
        crop_px: side of the crops, a multiple of 32.
        finish_px: side of the crops in the last `finish_epochs` epochs, and of the tiles that the student is for.
        finish_epochs: 0: `crop_px` throughout.
        backbone_rate: first and last learning rate of the encoder.
        decoder_rate: first and last learning rate of the decoder.
        warmup_epochs: with a rising rate.
        weight_decay: AdamW's, on matrices and kernels only.
        clip_norm: largest norm of the gradient; 0: not limited.
        average: share of the averaged weights that survives a step; 0: no averaging.
        loss: weights of the terms.
        evaluate_every: epochs from one judgement on the val groups to the next; the last epoch is always judged.
        recompute: run the encoder's blocks again in the backward pass instead of keeping their activations.
        augmentation: how crops vary.
        seed: of everything random.
        precision: `auto`, `fp32` or `bf16`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        workers: processes that prepare crops.
        threads: of PyTorch on the CPU; 0: its own choice.
    """

    variant: str = "base"
    init: str = ""
    backbone: str = ""
    encoder_weights: str = ""
    epochs: int = 200
    batch: int = 16
    crop_px: int = 512
    finish_px: int = 512
    finish_epochs: int = 0
    backbone_rate: tuple[float, float] = (5e-6, 5e-9)
    decoder_rate: tuple[float, float] = (5e-4, 5e-6)
    warmup_epochs: int = 0
    weight_decay: float = 0.01
    clip_norm: float = 0.0
    average: float = 0.0
    loss: LossWeights = field(default_factory=LossWeights)
    evaluate_every: int = 1
    recompute: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    workers: int = 2
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("crop_px", "finish_px"):
            side = getattr(self, name)
            if side < STRIDE_PX or side % STRIDE_PX:
                raise UsageError(f"{name} must be a multiple of {STRIDE_PX} px, not {side}")
        if min(self.epochs, self.batch, self.evaluate_every) < 1 or not 0 <= self.finish_epochs <= self.epochs:
            raise UsageError("epochs, batch and evaluate_every must be 1 or more, and finish_epochs at most epochs")
        if self.encoder_weights and (self.init or self.backbone):
            raise UsageError("give weights for the encoder once: init, backbone or encoder_weights")

    @property
    def tile_px(self) -> int:
        """Side of the tiles that the student is for."""
        return self.finish_px if self.finish_epochs else self.crop_px
