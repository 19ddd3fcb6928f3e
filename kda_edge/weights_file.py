"""State dicts of foreign networks, from files that can't run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from kda_edge.errors import MissingDependency, TrainingError

WRAPPERS = ("state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict, without the wrappers that training code puts around them.

    Args:
        path: `.safetensors`, or whatever `torch.load` reads with `weights_only=True`.

    Raises:
        TrainingError: missing, damaged, or something else.
        MissingDependency: safetensors is not installed.
    """
    if not path.is_file():
        raise TrainingError(f"there is no weights file {path}; check the path")
    try:
        content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    except MissingDependency:
        raise
    # Foreign bytes make either reader fail in every way there is; all of them mean the same.
    except Exception as error:
        raise TrainingError(
            f"{path.name} is no state dict, or is damaged, or holds more than tensors; give a state dict"
        ) from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise TrainingError(f"{path.name} holds {type(content).__name__}; give a state dict")
    return {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}


def _safetensors(path: Path) -> object:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise MissingDependency("safetensors", extra="train") from error
    return load_file(path)


def _pickled(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)
