"""Files of distilled backbones, which phase 1 hands to phase 2."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kda_edge.errors import CheckpointError, ManifestError
from kda_edge.manifest import InputContract, from_plain
from kda_edge.networks.checkpoint import BACKBONE_FORMAT, read_content, write_content

from .run_state import clones

FORMAT: Final = BACKBONE_FORMAT
FORMAT_VERSION: Final = 1
REMEDY: Final = "give a distilled.pt of kda-train distill"


@dataclass(frozen=True)
class Backbone:
    """A distilled encoder and how it came to be.

    Attributes:
        variant: size of the student that it belongs to.
        state: of the encoder.
        input: the pixels that it was shown.
        summary: one sentence for training records: teacher, method, imagery.
        compute: memory format and precision that it was distilled in; empty: not recorded.
    """

    variant: str
    state: dict[str, Tensor]
    input: InputContract
    summary: str
    compute: str = ""


def write_backbone(path: Path, backbone: Backbone) -> None:
    """Write a backbone atomically."""
    write_content(path, content_from_backbone(backbone))


def content_from_backbone(backbone: Backbone) -> dict[str, Any]:
    """Return the plain dict that a backbone is stored as."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "variant": backbone.variant,
        "state_dict": clones(backbone.state),
        "input": dataclasses.asdict(backbone.input),
        "summary": backbone.summary,
        "compute": backbone.compute,
    }


def read_backbone(path: Path) -> Backbone:
    """Read a backbone.

    Raises:
        CheckpointError: missing, damaged, or something else.
    """
    content = read_content(path)
    if content.get("format") != FORMAT or content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path.name} is not a distilled backbone of this version; {REMEDY}")
    try:
        contract = from_plain(InputContract, content.get("input"), where="input")
    except ManifestError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    state, variant, summary = content.get("state_dict"), content.get("variant"), content.get("summary")
    if not isinstance(state, Mapping) or not isinstance(variant, str) or not isinstance(summary, str):
        raise CheckpointError(f"{path.name} is incomplete; {REMEDY}")
    for key, value in state.items():
        if not isinstance(value, Tensor) or not torch.isfinite(value).all():
            raise CheckpointError(f"{path.name}: {key} holds values that are not finite; the distillation has diverged")
    return Backbone(variant, dict(state), contract, summary, str(content.get("compute", "")))


def load_backbone(encoder: nn.Module, backbone: Backbone, path: Path) -> None:
    """Give an encoder the weights of a backbone.

    Raises:
        CheckpointError: the encoder has other keys or shapes.
    """
    try:
        encoder.load_state_dict(backbone.state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path.name} was distilled for {backbone.variant!r} and does not fit this network; choose --variant "
            f"{backbone.variant}, alone or with another head"
        ) from error
