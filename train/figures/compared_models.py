"""Models that `kda-train explain` compares: distilled backbones and checkpoints, as their files describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.errors import CheckpointError, UsageError
from kda_edge.manifest import InputContract
from kda_edge.networks.checkpoint import FORMAT as CHECKPOINT_FORMAT
from kda_edge.networks.checkpoint import checkpoint_from_content, read_content
from kda_edge.networks.network import Network
from kda_edge.networks.student import VARIANTS, Student

from ..distillation.frozen_backbones import FrozenBackbone, frozen_encoder
from ..loops.backbone_files import FORMAT as BACKBONE_FORMAT
from ..loops.backbone_files import load_backbone, read_backbone
from .heatmaps import encoder_maps


@dataclass(frozen=True)
class ComparedModel:
    """A model of ours, opened from its file.

    Attributes:
        name: for the figure.
        file: where it comes from.
        input: the pixels that it was trained on.
        backbone: its encoder, for pixels of 0..1; the last map is stage 4.
        network: the whole network; None: the file holds a backbone alone.
        threshold: landslide probability from which its pixels count as landslide.
    """

    name: str
    file: Path
    input: InputContract
    backbone: FrozenBackbone
    network: Network | None
    threshold: float

    @property
    def kind(self) -> str:
        """What the file holds."""
        return "backbone" if self.network is None else "checkpoint"

    def to(self, device: torch.device) -> ComparedModel:
        """Move it to a device; returns itself."""
        self.backbone.to(device)
        if self.network is not None:
            self.network.to(device)
        return self

    def normalised(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) of 0..1 -> what the network takes: sides up to multiples of 32 px, its own mean and std."""
        size_hw = input_hw(self.backbone, (image.shape[2], image.shape[3]))
        if size_hw != tuple(image.shape[2:]):
            image = F.interpolate(image, size=size_hw, mode="bilinear", align_corners=False, antialias=True)
        return (image - self.backbone.mean) / self.backbone.std


class _EncoderMaps(nn.Module):
    """The maps of an encoder, whatever else it hands on."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> list[Tensor]:
        """Normalised image -> maps, finest first."""
        return encoder_maps(self.encoder(image), (image.shape[2], image.shape[3]))


def input_hw(backbone: FrozenBackbone, image_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size that a backbone resizes an image to: its sides rounded up to what it takes."""
    return backbone.input_px(image_hw[0]), backbone.input_px(image_hw[1])


def open_model(name: str, path: Path) -> ComparedModel:
    """Open a distilled backbone, a checkpoint or a published state dict.

    Raises:
        CheckpointError: missing, damaged, or none of them.
    """
    content = read_content(path)
    if content.get("format") == BACKBONE_FORMAT:
        stored = read_backbone(path)
        if stored.variant not in VARIANTS:
            raise CheckpointError(f"{path.name} was distilled for {stored.variant!r}, which is no student")
        encoder = Student(stored.variant).encoder
        load_backbone(encoder, stored, path)
        return ComparedModel(name, path, stored.input, _frozen(encoder, name, stored.input), None, 0.5)
    try:
        checkpoint = checkpoint_from_content(content, path.name)
    except CheckpointError as error:
        if content.get("format") == CHECKPOINT_FORMAT:
            raise
        raise CheckpointError(
            f"{path} is neither a distilled backbone nor a checkpoint; give a distilled.pt or a best.pt of kda-train, "
            "or a published KDA state dict"
        ) from error
    backbone = _frozen(checkpoint.student.encoder, name, checkpoint.input)
    return ComparedModel(name, path, checkpoint.input, backbone, checkpoint.student, checkpoint.threshold)


def common_pixels(models: Sequence[ComparedModel]) -> InputContract:
    """Return the pixels that all models were trained on; each keeps its own mean and std.

    Raises:
        UsageError: they were trained on different imagery.
    """
    first = models[0]
    for other in models[1:]:
        if not same_pixels(first.input, other.input):
            raise UsageError(
                f"{first.name} was trained on {described(first.input)} and {other.name} on {described(other.input)}; "
                "compare models of the same imagery"
            )
    return first.input


def same_pixels(one: InputContract, other: InputContract) -> bool:
    """Return whether two models take the same pixels, whatever they normalise them with."""
    return (one.bands, one.pixel_type, one.value_range) == (other.bands, other.pixel_type, other.value_range)


def described(contract: InputContract) -> str:
    """Return the pixels in words."""
    low, high = contract.value_range
    return f"{contract.pixel_type} {low:g} to {high:g} ({', '.join(contract.bands)})"


def _frozen(encoder: nn.Module, name: str, contract: InputContract) -> FrozenBackbone:
    return frozen_encoder(_EncoderMaps(encoder), contract, name=name)
