"""Facts of the machine (processor, instructions, cores, versions), without which a measured figure says nothing."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def machine_facts(packages: tuple[str, ...]) -> dict[str, str]:
    """Return processor, usable cores, system, Python and the versions of `packages`; nothing that names the machine."""
    model, flags = platform.machine(), set[str]()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    facts = {
        "processor": model,
        "instructions": " ".join(flag for flag in CPU_FLAGS if flag in flags),
        "cores": str(cores),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    return facts | {name: metadata.version(name) for name in packages}
