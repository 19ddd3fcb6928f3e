"""Devices that train: found by name, asked what they compute in hardware, and waited for."""

from __future__ import annotations

from pathlib import Path

import torch

from kda_edge.errors import UsageError


def resolve_device(name: str) -> torch.device:
    """Return the device; `auto` takes a GPU where there is one.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"there is no device {name!r}; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is usable here; use --device cpu, or check the driver with nvidia-smi")
    return device


def computes_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpuinfo = Path("/proc/cpuinfo")
    if device.type != "cpu" or not cpuinfo.exists():
        return False
    flags = set(cpuinfo.read_text().split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all that it was asked to; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
