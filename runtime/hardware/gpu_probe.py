"""The GPU behind the NVIDIA driver, asked before TensorRT is touched: its bindings crash the process without one.

Only the driver's own library is used, through ctypes. The calls and the numbers are those of the CUDA driver API
(https://docs.nvidia.com/cuda/cuda-driver-api, `CUresult` and `CUdevice_attribute`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import DeviceError, NoDevice, NoDriver, TooOld

RELEASE: Final = Path("/sys/module/nvidia/version")  # of the driver's module in the kernel, containers see it too
LIBRARY: Final = "libcuda.so.1"  # installed with the driver, never with the toolkit
NAME_BYTES: Final = 256
COMPUTE_CAPABILITY_MAJOR: Final = 75
COMPUTE_CAPABILITY_MINOR: Final = 76

UPDATE: Final = "update the NVIDIA driver (on a Jetson: JetPack)"
CONTAINER: Final = "in a container, start it with --gpus all or --runtime nvidia"
# What cuInit answers, and what it means to a person. 35 is the CUDA runtime's number for the same refusal.
REFUSALS: Final[dict[int, tuple[type[DeviceError], str, str]]] = {
    34: (NoDriver, "the CUDA library that was found is a stub for compiling", "take its folder out of LD_LIBRARY_PATH"),
    35: (TooOld, "the NVIDIA driver is older than its CUDA library needs", UPDATE),
    36: (TooOld, "the NVIDIA driver is older than its CUDA library needs", UPDATE),
    46: (
        NoDevice,
        "another process holds the GPU for itself alone",
        "end it, or set the GPU's compute mode to default",
    ),
    100: (NoDevice, "the NVIDIA driver finds no GPU", f"see what nvidia-smi lists; {CONTAINER}"),
    101: (NoDevice, "the GPU that was chosen does not exist", "correct CUDA_VISIBLE_DEVICES"),
    802: (NoDevice, "the GPU is not ready", "wait until its start has ended, or start the NVIDIA fabric manager"),
    803: (NoDriver, "the NVIDIA driver and its libraries are of different versions", "restart the machine"),
    804: (TooOld, "the NVIDIA driver is too old for the CUDA compatibility library in use", UPDATE),
    999: (NoDriver, "the NVIDIA driver does not start", "restart the machine; after a suspend, reload nvidia_uvm"),
}


@dataclass(frozen=True)
class Device:
    """A GPU, as its driver tells.

    Attributes:
        index: among those that the process sees, from 0.
        name: as the maker calls it, such as "NVIDIA GeForce RTX 3090" or "Orin".
        compute_capability: major and minor, (8, 6) for an RTX 3090.
        driver_version: newest CUDA that the driver runs, such as "12.6".
        memory_bytes: all of the device's memory, used or not; a Jetson shares it with the CPU.
    """

    index: int
    name: str
    compute_capability: tuple[int, int]
    driver_version: str
    memory_bytes: int

    def __post_init__(self) -> None:
        if self.index < 0 or self.memory_bytes < 0 or not self.name:
            raise ValueError(f"not a device: {self!r}")


def probe(index: int = 0, *, load: Callable[[str], Any] = ctypes.CDLL) -> Device:
    """Start the driver and return one of its GPUs; no context is made and no memory taken.

    Args:
        index: among the GPUs that the process sees.
        load: opens the driver's library by its name, and raises OSError where it is not.

    Raises:
        NoDriver: no driver library, or one that does not start.
        NoDevice: a driver without a GPU, or without that one.
        TooOld: a driver that is older than its libraries need.
    """
    try:
        cuda = load(LIBRARY)
    except OSError as error:
        raise NoDriver(
            f"there is no NVIDIA driver here ({LIBRARY} can't be loaded); install one, or use the CPU; {CONTAINER}"
        ) from error
    status = cuda.cuInit(0)
    if status:
        raise _refusal(status)
    count = _int(cuda, "cuDeviceGetCount")
    if index >= count:
        raise _not_there(index, count)
    handle = _int(cuda, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(NAME_BYTES)
    _call(cuda, "cuDeviceGetName", name, NAME_BYTES, handle)
    memory = ctypes.c_size_t()
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), handle)
    version = _int(cuda, "cuDriverGetVersion")
    return Device(
        index=index,
        name=name.value.decode("utf-8", "replace").strip() or "unnamed GPU",
        compute_capability=(
            _int(cuda, "cuDeviceGetAttribute", COMPUTE_CAPABILITY_MAJOR, handle),
            _int(cuda, "cuDeviceGetAttribute", COMPUTE_CAPABILITY_MINOR, handle),
        ),
        driver_version=f"{version // 1000}.{version % 1000 // 10}",
        memory_bytes=memory.value,
    )


def driver_release(path: Path = RELEASE) -> str:
    """Return the release of the NVIDIA driver, such as "580.65.06"; empty where the system does not tell.

    It changes where the newest CUDA that the driver runs (`Device.driver_version`) stays the same.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _call(cuda: Any, function: str, *arguments: Any) -> None:
    status = getattr(cuda, function)(*arguments)
    if status:
        raise NoDriver(f"the NVIDIA driver failed ({function} gave error {status}); restart the machine")


def _int(cuda: Any, function: str, *arguments: int) -> int:
    """Call a function whose first parameter is where it writes a number."""
    number = ctypes.c_int()
    _call(cuda, function, ctypes.byref(number), *arguments)
    return number.value


def _refusal(status: int) -> DeviceError:
    kind, what, remedy = REFUSALS.get(
        status, (NoDriver, "the NVIDIA driver does not start", "see what nvidia-smi says")
    )
    return kind(f"{what} (cuInit gave error {status}){_visible()}; {remedy}, or use the CPU")


def _not_there(index: int, count: int) -> NoDevice:
    if count == 0:
        return NoDevice(f"the NVIDIA driver shows no GPU{_visible()}; see what nvidia-smi lists, or use the CPU")
    return NoDevice(f"there is no GPU {index}{_visible()}; choose one from 0 to {count - 1}")


def _visible() -> str:
    """A clause that names CUDA_VISIBLE_DEVICES where it hides GPUs, since nobody thinks of it."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if value is None else f", with CUDA_VISIBLE_DEVICES={value!r}"
