"""Peak memory of this process on the host, as Linux counts it; on the device, as NVIDIA's driver counts it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .nvml import Gpu, find_gpu
from .tegrastats import TegraSample, one_sample

PROC: Final = Path("/proc/self")
MB_PER_MIB: Final = 1.048576  # tegrastats writes MB and means 1024 x 1024 bytes, as /proc/meminfo shows
RESET_PEAK: Final = "5"  # what clear_refs takes to start the peak anew (proc_pid_clear_refs(5))


def reset_peak(proc: Path = PROC) -> bool:
    """Start the peak of resident memory anew; return whether the kernel let us."""
    try:
        (proc / "clear_refs").write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def peak_rss_mb(proc: Path = PROC) -> float | None:
    """Return the most resident memory since the start, or since `reset_peak`, MB; None where /proc does not tell."""
    return _field_mb(proc, "VmHWM")


def rss_mb(proc: Path = PROC) -> float | None:
    """Return the resident memory of now, MB; None where /proc does not tell."""
    return _field_mb(proc, "VmRSS")


def _field_mb(proc: Path, name: str) -> float | None:
    try:
        status = (proc / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


def device_memory(
    find: Callable[[], Gpu | str] = find_gpu, shared: Callable[[], TegraSample | None] = one_sample
) -> tuple[str, float] | None:
    """Return the memory on the GPU, MB, and as which figure; None where nothing tells it.

    `memory.device` is that of this process. Where the driver does not tell it (in a container, on a Jetson), it is
    `memory.device_of_all`: whatever is in use there, by whomever; on a Jetson the memory that CPU and GPU share.

    Args:
        find: the GPU, or why there is none to ask.
        shared: what a Jetson tells.
    """
    gpu = find()
    if not isinstance(gpu, str):
        own, of_all = gpu.memory_mb(os.getpid()), gpu.memory_of_all_mb()
        if own is not None:
            return "memory.device", own
        if of_all is not None:
            return "memory.device_of_all", of_all
    sample = shared()
    if sample is None or sample.ram_used_mb is None:
        return None
    return "memory.device_of_all", sample.ram_used_mb * MB_PER_MIB
