"""The settings of phase 1; the defaults are the paper's where it gives any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kda_edge.errors import UsageError
from kda_edge.manifest import STRIDE_PX

from ..data.augmentation import Augmentation

METHODS: Final = ("kd", "kda")
BALANCES: Final = ("fixed", "adaptive")
ALIGNMENTS: Final = ("last", "stages")
DOORS: Final = ("shared", "role")
DINOV2_B: Final = "vit_base_patch14_dinov2.lvd142m"
DINOV2_L: Final = "vit_large_patch14_dinov2.lvd142m"


@dataclass(frozen=True)
class DistillConfig:
    """All that decides the weights of a distillation, given its imagery.

    Attributes:
        variant: size of the student.
        teacher: timm's name of the model that teaches, or `student`.
        teacher_weights: its state dict; empty: timm fetches it by name.
        teacher_px: side that crops are enlarged to for the teacher; 0: its own multiple of `crop_px`.
        method: `kda`, or `kd` for the same without discriminator.
        discriminator: timm's name of the frozen model that the discriminator looks through.
        discriminator_weights: its state dict; empty: fetched, or the teacher's where it is the same model.
        doors: of the discriminator: `shared` by teacher and student, or one a `role`.
        pseudo_px: side of the image that it is shown; 0: `crop_px`, resized to what the model takes.
        weights: of the divergence and of the score distance.
        balance: `fixed` weights, or `adaptive`: the gradients of the two terms stand in the ratio of `weights`.
        align: `last` map only, or all `stages`.
        temperature: of the divergence.
        epochs: passes over the imagery.
        batch: crops a step, over all processes; an incomplete last batch is left out.
        crop_px: side of the crops, a multiple of 32.
        student_rate: first and last learning rate of encoder and necks.
        discriminator_rate: first and last learning rate of the discriminator.
        warmup_epochs: with a rising rate of the student.
        weight_decay: AdamW's.
        clip_norm: largest norm of the student's gradient; 0: not limited.
        views: crops an image that are taken in turn, epoch by epoch; 0: always new ones. A cache needs 1 or more.
        recompute: run the encoder's blocks again in the backward pass instead of keeping their activations.
        augmentation: how crops vary.
        seed: of everything random.
        precision: `auto`, `fp32` or `bf16`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        workers: processes that prepare crops.
        threads: of PyTorch on the CPU; 0: its own choice.
    """

    variant: str = "base"
    teacher: str = DINOV2_L
    teacher_weights: str = ""
    teacher_px: int = 0
    method: str = "kda"
    discriminator: str = DINOV2_B
    discriminator_weights: str = ""
    doors: str = "shared"
    pseudo_px: int = 0
    weights: tuple[float, float] = (0.6, 0.4)
    balance: str = "fixed"
    align: str = "last"
    temperature: float = 5.0
    epochs: int = 200
    batch: int = 8
    crop_px: int = 224
    student_rate: tuple[float, float] = (5e-5, 5e-8)
    discriminator_rate: tuple[float, float] = (5e-6, 5e-9)
    warmup_epochs: int = 0
    weight_decay: float = 0.01
    clip_norm: float = 0.0
    views: int = 0
    recompute: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    workers: int = 2
    threads: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("method", METHODS), ("balance", BALANCES), ("align", ALIGNMENTS), ("doors", DOORS)):
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.crop_px < STRIDE_PX or self.crop_px % STRIDE_PX:
            raise UsageError(f"crop_px must be a multiple of {STRIDE_PX} px, not {self.crop_px}")
        if self.epochs < 1 or self.batch < 1 or self.temperature <= 0 or self.views < 0 or self.pseudo_px < 0:
            raise UsageError("epochs and batch must be 1 or more, temperature above 0, views and pseudo_px not below 0")
        if self.weights[0] <= 0 or (self.weights[1] <= 0 and self.method == "kda"):
            raise UsageError("the weights must be above 0; to leave the discriminator out, use --method kd")
