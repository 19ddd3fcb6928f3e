"""Memory, copies, streams, events and graphs of a CUDA device, as little of them as running an engine needs.

Two libraries can do it: cuda-bindings, NVIDIA's own, which the samples of TensorRT use since 10.14, and pycuda, which
older images for Jetson carry. The names are those of the CUDA runtime API (https://docs.nvidia.com/cuda/cuda-runtime-api)
and of pycuda's manual (https://documen.tician.de/pycuda/driver.html). Neither is loaded before `open_cuda` is called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError, MissingDependency, one_line

from .cuda_bindings import CudaBindings
from .cuda_pycuda import Pycuda


class Cuda(Protocol):
    """What running an engine asks of CUDA; streams, events and graphs are handles that the library alone understands.

    Each method raises `OutOfDeviceMemory` where memory does not suffice and `EngineError` where CUDA fails otherwise.
    Every thing that is made must be given back once, and by the thread that made it.
    """

    @property
    def has_graphs(self) -> bool:
        """Whether launches can be captured and replayed."""
        ...

    def pinned(self, floats: int) -> NDArray[np.float32]:
        """Return page-locked host memory, (floats,): the only kind that asynchronous copies may touch."""
        ...

    def free_pinned(self, array: NDArray[np.float32]) -> None:
        """Give back what `pinned` returned; the array must not be touched afterwards."""
        ...

    def device(self, size_bytes: int) -> int:
        """Return the address of new memory on the device, aligned to 256 bytes."""
        ...

    def free_device(self, address: int) -> None:
        """Give back what `device` returned."""
        ...

    def stream(self) -> Any:
        """Return a stream that does not wait for the legacy default stream."""
        ...

    def stream_number(self, stream: Any) -> int:
        """Return a stream as TensorRT takes it."""
        ...

    def destroy_stream(self, stream: Any) -> None:
        """Give back a stream."""
        ...

    def event(self) -> Any:
        """Return an event without timing."""
        ...

    def timed_event(self) -> Any:
        """Return an event that keeps the time at which it happens; waiting for it may take longer."""
        ...

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Return the ms between two timed events, which have both happened; to about half a microsecond."""
        ...

    def destroy_event(self, event: Any) -> None:
        """Give back an event."""
        ...

    def copy_in(self, address: int, array: NDArray[np.float32], stream: Any) -> None:
        """Start copying pinned memory to the device; it must not be written before the copy is done."""
        ...

    def copy_out(self, array: NDArray[np.float32], address: int, stream: Any) -> None:
        """Start copying from the device to pinned memory; it must not be read before the copy is done."""
        ...

    def record(self, event: Any, stream: Any) -> None:
        """Let the event stand for all that the stream was given so far."""
        ...

    def wait(self, stream: Any, event: Any) -> None:
        """Let what the stream is given from now on wait for the event; returns at once."""
        ...

    def synchronize(self, event: Any) -> None:
        """Wait here until the event has happened."""
        ...

    def drain(self, stream: Any) -> None:
        """Wait here until the stream has nothing to do."""
        ...

    def begin_capture(self, stream: Any) -> None:
        """From now on record what the stream is given instead of doing it."""
        ...

    def end_capture(self, stream: Any) -> Any:
        """Leave the recording, whatever became of it, and return what was recorded as a graph to launch."""
        ...

    def launch(self, graph: Any, stream: Any) -> None:
        """Start a graph."""
        ...

    def destroy_graph(self, graph: Any) -> None:
        """Give back a graph."""
        ...

    def close(self) -> None:
        """Let go of the device; everything made must have been given back before."""
        ...


def open_cuda(device_index: int = 0, *, import_module: Callable[[str], Any] = importlib.import_module) -> Cuda:
    """Return CUDA on a device that `gpu_probe.probe` has found, through cuda-bindings, else through pycuda.

    Raises:
        MissingDependency: neither library is installed.
        EngineError: CUDA does not start.
    """
    try:
        return CudaBindings(import_module("cuda.bindings.runtime"), device_index)
    except ModuleNotFoundError as missing:
        try:
            return Pycuda(import_module("pycuda.driver"), device_index)
        except ModuleNotFoundError:
            raise MissingDependency("cuda-bindings", extra="tensorrt") from missing
    except ImportError as error:
        raise EngineError(
            f"cuda-bindings is installed and can't be loaded ({one_line(error)}); reinstall it in the version of the "
            "device's CUDA, such as pip install 'cuda-bindings~=12.8'"
        ) from error
