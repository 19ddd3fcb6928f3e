"""The networks of phase 1, as its settings name them: teacher, student with necks, and discriminator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from kda_edge.errors import TrainingError, UsageError
from kda_edge.networks.student import VARIANTS, Student
from kda_edge.networks.timm_student import TimmStudent, is_timm_backbone, require_head
from kda_edge.paths import is_file

from .alignment import AlignedStudent, matched_stages
from .config import DistillConfig
from .discriminator import Discriminator
from .frozen_backbones import STUDENT, FrozenBackbone, open_backbone


@dataclass(frozen=True)
class DistillationModels:
    """The networks of phase 1, all on one device.

    Attributes:
        teacher: frozen.
        student: the encoder that learns, with a neck a level.
        discriminator: None: there is none (`--method kd`).
        shapes: (C, h, w) of the teacher's maps of a crop.
    """

    teacher: FrozenBackbone
    student: AlignedStudent
    discriminator: Discriminator | None
    shapes: list[tuple[int, int, int]]

    @property
    def learners(self) -> list[nn.Module]:
        """The networks that learn; the discriminator looks through one that does not."""
        return [self.student, *([] if self.discriminator is None else [self.discriminator])]

    def in_format(self, memory_format: torch.memory_format) -> DistillationModels:
        """Put the kernels of all networks into a memory format, in place; no value changes."""
        for network in (self.teacher, *self.learners):
            network.to(memory_format=memory_format)
        return self

    def with_copies_of_learners(self) -> DistillationModels:
        """Return the same frozen networks, and copies of what learns."""
        discriminator = self.discriminator
        if discriminator is not None:
            frozen = discriminator.backbone
            discriminator = copy.deepcopy(discriminator, {id(frozen): frozen})
        return replace(self, student=copy.deepcopy(self.student), discriminator=discriminator)


def open_models(config: DistillConfig, device: torch.device) -> DistillationModels:
    """Open the frozen models and make those that learn, their weights drawn from `config.seed`.

    Raises:
        UsageError: no such student or frozen model, or maps that don't fit together.
        TrainingError: weights that can't be had.
        MissingDependency: timm is not installed.
    """
    teacher = open_backbone(
        config.teacher,
        weights=_path(config.teacher_weights),
        levels="stages" if config.align == "stages" else "last",
        input_px=config.teacher_px,
    ).to(device)
    shapes = teacher.shapes(config.crop_px)
    torch.manual_seed(config.seed)
    encoder, channels = _encoder(config)
    student = AlignedStudent(encoder, channels, shapes, matched_stages(shapes, config.crop_px)).to(device)
    discriminator = _discriminator(config, shapes[-1][0], device) if config.method == "kda" else None
    return DistillationModels(teacher, student.train(), discriminator, shapes)


def require_frozen_weights(config: DistillConfig) -> None:
    """Raise unless the weights of teacher and discriminator can be had; all that lacks is said at once.

    What has to be fetched is fetched now, into the cache that it is read from later.

    Raises:
        UsageError: no such frozen model.
        TrainingError: weights that can't be had; for each what to download, and the option that takes it.
        MissingDependency: timm is not installed.
    """
    wanted = {config.teacher: (config.teacher_weights, "--teacher-weights")}
    if config.method == "kda":
        wanted.setdefault(config.discriminator, (config.discriminator_weights, "--discriminator-weights"))
    lacking = [what for name, (weights, option) in wanted.items() if (what := _lack(name, weights, option))]
    if lacking:
        raise TrainingError("; ".join(lacking))


def _lack(name: str, weights: str, option: str) -> str:
    """Return what to do for the weights of a frozen model to be there; empty: they are."""
    if weights:
        return "" if is_file(Path(weights)) else f"there is no weights file {weights}; check {option}"
    if name == STUDENT:
        return ""
    try:
        open_backbone(name, weights=None, option=option)
    except TrainingError as error:
        return str(error)
    return ""


def require_variant(variant: str) -> None:
    """Raise `UsageError` unless phase 1 can distil a backbone for a network of this name; none is made."""
    if variant in VARIANTS:
        return
    if not is_timm_backbone(variant.partition("+")[0]):
        raise UsageError(
            f"there is no student {variant!r}; choose one of {', '.join(VARIANTS)}, or a backbone of timm with "
            "the head that phase 2 will train, such as tf_efficientnet_lite0+dcf"
        )
    require_head(variant)


def _encoder(config: DistillConfig) -> tuple[nn.Module, Sequence[int]]:
    require_variant(config.variant)
    if config.variant in VARIANTS:
        encoder = Student(config.variant).encoder
        encoder.recompute = config.recompute
        return encoder, VARIANTS[config.variant].dims
    if config.recompute:
        raise UsageError(f"{config.variant} has no PVT encoder; leave --recompute out")
    network = TimmStudent(config.variant)
    return network.encoder, network.channels


def _discriminator(config: DistillConfig, channels: int, device: torch.device) -> Discriminator:
    weights = config.discriminator_weights
    if not weights and config.discriminator == config.teacher:
        weights = config.teacher_weights
    backbone = open_backbone(
        config.discriminator, weights=_path(weights), levels="stages", option="--discriminator-weights"
    )
    return Discriminator(backbone.to(device), channels, config.pseudo_px or config.crop_px, config.doors).to(device)


def _path(text: str) -> Path | None:
    return Path(text) if text else None
