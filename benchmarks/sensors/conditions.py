"""The state of the machine at work: load, clocks, temperatures, power mode. What can't be read is missing."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kda_edge.runtime.engines.engine_names import GPU_ENGINES

from . import nvml
from .tegrastats import one_sample

GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
NVPMODEL: Final = "nvpmodel"
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def conditions(engine: str) -> dict[str, Any]:
    """Return the state of the machine now; that of the GPU where the engine uses it."""
    found: dict[str, Any] = {"load_1min": round(os.getloadavg()[0], 2)}
    if GOVERNOR.is_file():
        found["cpu_governor"] = GOVERNOR.read_text().strip()
    found |= _from_psutil()
    mode = power_mode()
    if mode is not None:
        found["power_mode"] = mode
    sample = one_sample()
    if sample is not None:
        found["tegrastats"] = dataclasses.asdict(sample)
    if engine in GPU_ENGINES:
        gpu = nvml.find_gpu()
        found["gpu"] = gpu.state() if isinstance(gpu, nvml.Gpu) else gpu
    limits = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return found | ({"threads_set_by": limits} if limits else {})


def power_mode(ask: Callable[[], str] | None = None) -> str | None:
    """Return the power mode of a Jetson, such as `MAXN`; None elsewhere.

    Args:
        ask: returns what `nvpmodel -q` prints; None: run it.
    """
    try:
        text = (ask or _nvpmodel)()
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"NV Power Mode:\s*(\S+)", text)
    return found[1] if found else None


def _nvpmodel() -> str:
    if shutil.which(NVPMODEL) is None:
        raise FileNotFoundError(NVPMODEL)
    return subprocess.run([NVPMODEL, "-q"], capture_output=True, text=True, timeout=10, check=True).stdout


def _from_psutil() -> dict[str, Any]:
    try:
        import psutil
    except ImportError:
        return {}
    found: dict[str, Any] = {}
    frequency = psutil.cpu_freq()
    if frequency is not None and frequency.current:
        found["cpu_mhz"] = round(frequency.current)
    temperatures = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    hottest = {name: max(entry.current for entry in entries) for name, entries in temperatures.items() if entries}
    if hottest:
        found["temperatures_c"] = hottest
    return found
