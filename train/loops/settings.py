"""Settings that runs of both phases have, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Final

from kda_edge.errors import UsageError
from kda_edge.manifest import STRIDE_PX

from ..data.augmentation import Augmentation
from .loggers import LOGGERS, TENSORBOARD

AUTO: Final = "auto"  # what a trial at the start of the run finds fastest
PRECISIONS: Final = (AUTO, "fp32", "bf16")
MEMORY_FORMATS: Final = (AUTO, "contiguous", "channels_last")
ENDS_ONLY: Final = ("patience",)  # settings that say when a run ends, and leave each epoch as it is
# Settings that leave the weights as they are.
SPEED_ONLY: Final = ("workers", "device", "threads", "recompute", "loggers")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of a training run, whichever phase it is of.

    Attributes:
        variant: the network by its name, as `--variant` takes it.
        epochs: passes over the training images.
        batch: crops a step, over all processes.
        crop_px: side of the crops, a multiple of 32.
        warmup_epochs: epochs at the start with a rising learning rate of the student.
        weight_decay: that of AdamW, on matrices and kernels only.
        clip_norm: largest norm of the student's gradient; 0: not limited.
        recompute: run the encoder's blocks again in the backward pass instead of keeping their activations.
        augmentation: how crops vary.
        seed: of everything random, the split of the images included.
        precision: `fp32`, `bf16` (mixed), or `auto`: the faster one in a trial.
        memory_format: `contiguous`, `channels_last`, or `auto`: the faster one in a trial.
        device: what computes: `auto`, `cpu`, `cuda` or `cuda:1`.
        workers: processes that prepare crops.
        threads: of PyTorch on the CPU; 0: PyTorch's choice.
        loggers: of each epoch's figures: `tensorboard`, `mlflow`, or `csv` for nothing but the `metrics.csv` that is
            always written.
    """

    variant: str = "base"
    epochs: int = 200
    batch: int
    crop_px: int
    warmup_epochs: int = 0
    weight_decay: float = 0.01
    clip_norm: float = 0.0
    recompute: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    precision: str = AUTO
    memory_format: str = AUTO
    device: str = "auto"
    workers: int = 2
    threads: int = 0
    loggers: tuple[str, ...] = (TENSORBOARD,)

    def __post_init__(self) -> None:
        for one in fields(self):
            _require_numbers(one.name, getattr(self, one.name))
        require_side("crop_px", self.crop_px)
        if self.epochs < 1 or self.batch < 1:
            raise UsageError("epochs and batch must be 1 or more")
        require_choice("precision", self.precision, PRECISIONS)
        for name in self.loggers:
            require_choice("loggers", name, LOGGERS)
        require_choice("memory_format", self.memory_format, MEMORY_FORMATS)


def _require_numbers(name: str, value: object) -> None:
    """Refuse what no setting can be: a number below 0 or not finite, here or inside."""
    if is_dataclass(value):
        for one in fields(value):
            _require_numbers(f"{name}.{one.name}", getattr(value, one.name))
    elif isinstance(value, tuple):
        for item in value:
            _require_numbers(name, item)
    elif isinstance(value, (int, float)) and not 0 <= value < math.inf:
        raise UsageError(f"{name} must be a finite number, 0 or above, not {value}")


def require_side(name: str, side_px: int) -> None:
    """Raise `UsageError` unless the side of a crop is one that the network's strides divide."""
    if side_px < STRIDE_PX or side_px % STRIDE_PX:
        raise UsageError(f"{name} must be a multiple of {STRIDE_PX} px, not {side_px}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `UsageError` unless a setting is one of its choices."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
