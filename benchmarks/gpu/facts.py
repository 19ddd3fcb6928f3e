"""The part `facts`: card, driver, CUDA, cuDNN, clocks, power limit, MIG, and the versions of all that computes.

Asked of NVML (nvidia-ml-py); where that is missing, of the command nvidia-smi; what neither tells is named.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from kda_edge.errors import DeviceError
from kda_edge.machine import machine_facts
from kda_edge.runtime.hardware.gpu_probe import Device, probe

from ..reporting.result import Figure
from ..sensors.conditions import conditions
from ..sensors.nvml import Gpu, find_gpu
from .part_file import Card
from .parts import Findings, NotPossibleHere, Task

SMI: Final = "nvidia-smi"
# Ours: nvidia-smi's; memory and power have units that `nounits` leaves out: MiB, W, MHz.
QUERIED: Final = {
    "name": "name",
    "driver": "driver_version",
    "compute_capability": "compute_cap",
    "memory_mib": "memory.total",
    "memory_used_mib": "memory.used",
    "power_limit_w": "power.limit",
    "power_limit_default_w": "power.default_limit",
    "clock_mhz": "clocks.sm",
    "clock_most_mhz": "clocks.max.sm",
    "memory_clock_mhz": "clocks.mem",
    "temperature_c": "temperature.gpu",
    "mig": "mig.mode.current",
    "ecc": "ecc.mode.current",
    "persistence": "persistence_mode",
}
UNKNOWN: Final = ("", "[n/a]", "n/a", "[not supported]", "[unknown error]")
MEASURED: Final = (  # facts that are numbers: unit and what
    ("power.limit", "power_limit_w", "W"),
    ("clock.most", "clock_most_mhz", "MHz"),
    ("memory.total", "memory_mib", "MiB"),
)


def smi_facts(ask: Callable[[], str] | None = None) -> dict[str, str]:
    """Return what nvidia-smi tells of the first GPU that it lists; empty where it can't be asked.

    Args:
        ask: returns its CSV; None: run it.
    """
    try:
        rows = list(csv.reader(io.StringIO((ask or _asked_smi)()), skipinitialspace=True))
    except (OSError, subprocess.SubprocessError):
        return {}
    values = rows[0] if rows else []
    if len(values) != len(QUERIED):
        return {}
    pairs = zip(QUERIED, (value.strip() for value in values), strict=True)
    return {name: value for name, value in pairs if value.lower() not in UNKNOWN}


def _asked_smi() -> str:
    words = [SMI, f"--query-gpu={','.join(QUERIED.values())}", "--format=csv,noheader,nounits"]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout


def card_of(device: str, *, find: Callable[[], Device] = probe, smi: Callable[[], dict[str, str]] = smi_facts) -> Card:
    """Return what parts run on.

    Args:
        device: `cuda` or `cpu`.
        find: the driver's GPU, or a `DeviceError`.
        smi: what nvidia-smi tells.
    """
    if device == "cpu":
        return Card(name=machine_facts(())["processor"], kind="cpu")
    try:
        found = find()
    except DeviceError:
        return Card(name="no GPU", kind="cuda")
    told = smi()
    major, minor = found.compute_capability
    memory_mb = round(found.memory_bytes / 1e6)
    return Card(found.name, "cuda", told.get("driver", _nvml_driver() or ""), f"{major}.{minor}", memory_mb)


def _nvml_driver() -> str | None:
    gpu = find_gpu()
    version = gpu.nvml.nvmlSystemGetDriverVersion() if isinstance(gpu, Gpu) else None
    return version.decode() if isinstance(version, bytes) else version


def used_mb(find: Callable[[], Gpu | str] = find_gpu, smi: Callable[[], dict[str, str]] = smi_facts) -> float | None:
    """Return the device memory that is in use, by whomever, MB; None where nothing tells it."""
    gpu = find()
    told = None if isinstance(gpu, str) else gpu.memory_of_all_mb()
    if told is not None:
        return told
    used = smi().get("memory_used_mib")
    return None if used is None else float(used) * 1.048576


def run(
    task: Task,
    findings: Findings,
    *,
    find: Callable[[], Device] = probe,
    smi: Callable[[], dict[str, str]] = smi_facts,
    torch_facts: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Find the facts.

    Raises:
        DeviceError: there is no driver or no GPU.
    """
    facts: dict[str, Any] = {}
    if task.device == "cuda":
        find()  # says in words why there is none
        facts |= smi()
        if not facts:
            findings.notes.append(
                f"{SMI} can't be asked: clocks, power limit and driver are as NVML tells, MIG is not known"
            )
    findings.conditions |= {"before": conditions("cuda" if task.device == "cuda" else "cpu")}
    state = findings.conditions["before"].get("gpu")
    if isinstance(state, str):
        findings.notes.append(state)
    elif state is not None:
        facts = {key: value for key, value in state.items() if key != "clock_reasons"} | facts
    with suppress(NotPossibleHere):
        facts |= (torch_facts or facts_of_torch)()
    if "torch" not in facts:
        findings.notes.append("PyTorch is not installed: CUDA and cuDNN as it sees them are not known")
    findings.settings |= {"facts": {key: str(value) for key, value in sorted(facts.items())}}
    for name, key, unit in MEASURED:
        with suppress(KeyError, ValueError):
            findings.figures.append(Figure(name, float(facts[key]), unit))
    missing = [name for name in QUERIED if name not in facts] if task.device == "cuda" else []
    if missing:
        findings.notes.append(f"not told by this card or driver: {', '.join(missing)}")


def facts_of_torch() -> dict[str, str]:
    """Return PyTorch's versions of itself, CUDA and cuDNN, and whether it sees the card.

    Raises:
        NotPossibleHere: it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise NotPossibleHere("PyTorch is not installed")
    import torch

    backend: Any = torch.backends.cudnn
    cudnn = backend.version() if torch.cuda.is_available() else None
    found = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": cudnn}
    return {key: str(value) for key, value in found.items() if value is not None} | {
        "torch_sees_the_card": str(torch.cuda.is_available())
    }
