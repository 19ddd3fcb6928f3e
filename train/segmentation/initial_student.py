"""The student that a run of phase 2 starts from: fresh, of a checkpoint, or with an encoder that has learned before."""

from __future__ import annotations

from pathlib import Path

import torch

from kda_edge.errors import TrainingError, UsageError
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import read_checkpoint
from kda_edge.networks.network import Network
from kda_edge.networks.pvt import PyramidVisionTransformer
from kda_edge.networks.timm_student import TimmStudent

from ..loops.backbone_files import load_backbone, read_backbone
from .config import SegmentConfig


def initial_student(config: SegmentConfig) -> tuple[Network, str]:
    """Return the network with its first weights, on the CPU, and what the training record says of its teacher.

    Raises:
        UsageError: no such network, or an encoder that the settings don't fit.
        CheckpointError: a checkpoint or backbone that can't be read or does not fit.
        TrainingError: weights of another network, or that can't be had.
    """
    torch.manual_seed(config.seed)
    student = read_checkpoint(config.init).student if config.init else network_from_name(config.variant)
    if student.variant != config.variant:
        raise TrainingError(f"{config.init} holds {student.variant!r}, not {config.variant!r}")
    if config.encoder_weights:
        from kda_edge.networks.peers import load_encoder_weights

        load_encoder_weights(student, config.encoder_weights)
    encoder = student.encoder
    if isinstance(encoder, PyramidVisionTransformer):
        encoder.recompute = config.recompute
    elif config.recompute or (config.backbone and not isinstance(student, TimmStudent)):
        raise UsageError(f"{config.variant} has no PVT encoder; leave --backbone and --recompute out")
    if not config.backbone:
        return student, read_checkpoint(config.init).training.teacher if config.init else ""
    backbone = read_backbone(Path(config.backbone))
    load_backbone(encoder, backbone, Path(config.backbone))
    return student, backbone.summary
