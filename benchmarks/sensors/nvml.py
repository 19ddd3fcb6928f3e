"""NVML, NVIDIA's account of a GPU: energy, power, clocks, temperature, why it is slow, memory.

By nvidia-ml-py (`pynvml`), which is the maker's own. A reading that a GPU does not offer is None; the first reason why
nothing at all can be read is returned in words.

Source: NVML API reference, https://docs.nvidia.com/deploy/nvml-api. On an Ampere GeForce, such as the RTX 3090, power
is an average over one second; the energy counter is not.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

MEMORY_UNKNOWN: Final = (1 << 64) - 1  # NVML_VALUE_NOT_AVAILABLE
# NVML_CLOCKS_EVENT_REASONS by bit: why the clocks are what they are. The first is no fault.
CLOCK_REASONS: Final[dict[int, str]] = {
    0x001: "idle",
    0x002: "clocks set by an application",
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "hardware power brake",
    0x100: "clocks set for the display",
}
THROTTLING: Final = 0x004 | 0x008 | 0x020 | 0x040 | 0x080


@dataclass(frozen=True)
class Gpu:
    """A GPU as NVML sees it.

    Attributes:
        nvml: the module `pynvml`.
        handle: of the GPU.
        name: as the maker calls it.
    """

    nvml: Any
    handle: Any
    name: str

    def energy_j(self) -> float | None:
        """Return the board's energy since the driver was loaded, J; Volta and later."""
        return self._scaled("nvmlDeviceGetTotalEnergyConsumption", 1e-3)

    def power_w(self) -> float | None:
        """Return the board's power, W."""
        return self._scaled("nvmlDeviceGetPowerUsage", 1e-3)

    def power_limit_w(self) -> float | None:
        """Return the power that the driver holds the board to, W."""
        return self._scaled("nvmlDeviceGetPowerManagementLimit", 1e-3)

    def temperature_c(self) -> float | None:
        """Return the GPU's temperature, degrees Celsius."""
        return self._scaled("nvmlDeviceGetTemperature", 1.0, self.nvml.NVML_TEMPERATURE_GPU)

    def clock_mhz(self) -> float | None:
        """Return the clock of the multiprocessors, MHz."""
        return self._scaled("nvmlDeviceGetClockInfo", 1.0, self.nvml.NVML_CLOCK_SM)

    def memory_clock_mhz(self) -> float | None:
        """Return the clock of the memory, MHz."""
        return self._scaled("nvmlDeviceGetClockInfo", 1.0, self.nvml.NVML_CLOCK_MEM)

    def clock_reasons(self) -> tuple[str, ...] | None:
        """Return why the clocks are what they are, in words."""
        bits = self._asked("nvmlDeviceGetCurrentClocksThrottleReasons")
        return None if bits is None else reasons_from(int(bits))

    def is_throttled(self) -> bool | None:
        """Return whether heat or power holds the clocks down."""
        bits = self._asked("nvmlDeviceGetCurrentClocksThrottleReasons")
        return None if bits is None else bool(int(bits) & THROTTLING)

    def memory_mb(self, pid: int) -> float | None:
        """Return the device memory of one process, MB; None also in a container, where its number is another."""
        for process in self._asked("nvmlDeviceGetComputeRunningProcesses") or ():
            used = process.usedGpuMemory
            if process.pid == pid and used not in (None, MEMORY_UNKNOWN):
                return float(used) / 1e6
        return None

    def memory_of_all_mb(self) -> float | None:
        """Return the device memory that is in use, by whomever, MB."""
        memory = self._asked("nvmlDeviceGetMemoryInfo")
        return None if memory is None else float(memory.used) / 1e6

    def state(self) -> dict[str, Any]:
        """Return what a result records of the GPU: what can't be read is missing."""
        found = {
            "name": self.name,
            "clock_mhz": self.clock_mhz(),
            "memory_clock_mhz": self.memory_clock_mhz(),
            "temperature_c": self.temperature_c(),
            "power_w": self.power_w(),
            "power_limit_w": self.power_limit_w(),
            "clock_reasons": None if (reasons := self.clock_reasons()) is None else list(reasons),
        }
        return {key: value for key, value in found.items() if value is not None}

    def _asked(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self.nvml, function)(self.handle, *arguments)
        except self.nvml.NVMLError:  # not supported by this GPU, or by a Jetson's part of NVML
            return None

    def _scaled(self, function: str, factor: float, *arguments: Any) -> float | None:
        value = self._asked(function, *arguments)
        return None if value is None else value * factor


def reasons_from(bits: int) -> tuple[str, ...]:
    """Return the words for NVML's bits; a bit that nobody knows is told by its number."""
    unknown = bits & ~sum(CLOCK_REASONS)
    return (*(word for bit, word in CLOCK_REASONS.items() if bits & bit), *([f"bits {unknown:#x}"] if unknown else []))


def find_gpu(
    load: Callable[[str], Any] = importlib.import_module, environment: Mapping[str, str] = os.environ
) -> Gpu | str:
    """Return the GPU that CUDA uses first, or why nothing of it can be read.

    CUDA and NVML number GPUs differently unless CUDA_DEVICE_ORDER is PCI_BUS_ID: with several, that is asked for.
    """
    try:
        nvml = load("pynvml")
    except ImportError:
        return "NVML: nvidia-ml-py is not installed; run: pip install 'kda-edge[bench]'"
    try:
        nvml.nvmlInit()
        count = int(nvml.nvmlDeviceGetCount())
        if count == 0:
            return "NVML: the driver shows no GPU"
        visible = environment.get("CUDA_VISIBLE_DEVICES", "")
        first = visible.split(",")[0].strip()
        if count > 1 and (environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" or not first.isdecimal()):
            return f"NVML: {count} GPUs; choose one with CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=N"
        handle = nvml.nvmlDeviceGetHandleByIndex(int(first) if count > 1 else 0)
        name = nvml.nvmlDeviceGetName(handle)
    except nvml.NVMLError as error:
        return f"NVML: {error}"
    return Gpu(nvml, handle, name.decode() if isinstance(name, bytes) else str(name))
