"""Settings of phase 1, distillation; the defaults are the paper's where it gives any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kda_edge.errors import UsageError

from ..loops.settings import RunSettings, require_choice

METHODS: Final = ("kd", "kda")
BALANCES: Final = ("fixed", "adaptive")
ALIGNMENTS: Final = ("last", "stages")
DOORS: Final = ("shared", "role")
DINOV2_B: Final = "vit_base_patch14_dinov2.lvd142m"
DINOV2_L: Final = "vit_large_patch14_dinov2.lvd142m"


@dataclass(frozen=True, kw_only=True)
class DistillConfig(RunSettings):
    """All that decides the weights of a distillation, given its imagery: `RunSettings`, and these.

    An incomplete last batch is left out.

    Attributes:
        teacher: timm's name of the model that teaches, or `student`.
        teacher_weights: the teacher's state dict; empty: timm fetches it by name.
        teacher_px: side that crops are enlarged to for the teacher; 0: its own multiple of `crop_px`.
        method: `kda`, or `kd` for the same without discriminator.
        discriminator: timm's name of the frozen model that the discriminator looks through.
        discriminator_weights: its state dict; empty: fetched, or the teacher's where it is the same model.
        doors: input layers of the discriminator: `shared` by teacher and student, or one a `role`.
        pseudo_px: side of the image that the discriminator is shown; 0: `crop_px`, resized to what the model takes.
        weights: weights of the divergence and of the score distance.
        balance: `fixed` weights, or `adaptive`: the gradients of the two terms stand in the ratio of `weights`.
        align: `last` map only, or all `stages`.
        temperature: that of the divergence.
        student_rate: first and last learning rate of encoder and necks.
        discriminator_rate: first and last learning rate of the discriminator.
        views: crops an image that are taken in turn, epoch by epoch; 0: always new ones. A cache needs 1 or more.
    """

    batch: int = 8
    crop_px: int = 224
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
    student_rate: tuple[float, float] = (5e-5, 5e-8)
    discriminator_rate: tuple[float, float] = (5e-6, 5e-9)
    views: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (("method", METHODS), ("balance", BALANCES), ("align", ALIGNMENTS), ("doors", DOORS)):
            require_choice(name, getattr(self, name), choices)
        if self.temperature <= 0:
            raise UsageError("temperature must be above 0")
        if self.weights[0] <= 0 or (self.weights[1] <= 0 and self.method == "kda"):
            raise UsageError("the weights must be above 0; to leave the discriminator out, use --method kd")
