"""State dicts of foreign networks: from files that can't run code, or from a hub that may be out of reach."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor

from kda_edge.errors import MissingDependency, TrainingError
from kda_edge.paths import is_file
from kda_edge.quiet_logger import quiet

WRAPPERS = ("state_dict", "model")
HUB: Final = "huggingface_hub"  # the logger of the hub's client


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict, without the wrappers that training code puts around them.

    Args:
        path: `.safetensors`, or whatever `torch.load` reads with `weights_only=True`.

    Raises:
        TrainingError: missing, damaged, or something else.
        MissingDependency: safetensors is not installed.
    """
    if not is_file(path):
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


@contextmanager
def reachable_hub() -> Iterator[None]:
    """Let what runs inside fetch from the hub; where its host has no address, from the cache alone.

    Without this, a machine in the field tries again and again for minutes before it says what it lacks.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    host = urlsplit(constants.ENDPOINT).hostname
    constants.HF_HUB_OFFLINE = before or not (getproxies() or (host and _has_address(host)))
    try:
        with quiet(HUB):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _safetensors(path: Path) -> object:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise MissingDependency("safetensors", extra="train") from error
    return load_file(path)


def _pickled(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _has_address(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
