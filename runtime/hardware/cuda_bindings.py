"""CUDA through NVIDIA's cuda-bindings; `cuda.Cuda` says what each method promises."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError, OutOfDeviceMemory, one_line

OUT_OF_MEMORY: Final = 2  # cudaErrorMemoryAllocation
FLOAT_BYTES: Final = 4
REMEDY: Final = "restart the program; if it comes again, restart the machine and look at dmesg"
SMALLER: Final = "close other programs that use the GPU, or use a smaller batch or a model with smaller tiles"


class CudaBindings:
    """CUDA through cuda-bindings, 12 and 13: each call answers with its error first."""

    has_graphs = True

    def __init__(self, runtime: Any, device_index: int = 0) -> None:
        """Choose a device.

        Args:
            runtime: the module `cuda.bindings.runtime`.
            device_index: among those that the process sees.
        """
        self._runtime = runtime
        self._call("cudaSetDevice", device_index)

    def pinned(self, floats: int) -> NDArray[np.float32]:
        """Return page-locked host memory."""
        size_bytes = floats * FLOAT_BYTES
        address = int(self._call("cudaHostAlloc", size_bytes, self._runtime.cudaHostAllocDefault))
        return np.frombuffer(memoryview((ctypes.c_char * size_bytes).from_address(address)).cast("B"), np.float32)

    def free_pinned(self, array: NDArray[np.float32]) -> None:
        """Give back page-locked host memory."""
        self._call("cudaFreeHost", array.ctypes.data)

    def device(self, size_bytes: int) -> int:
        """Return the address of new memory on the device."""
        return int(self._call("cudaMalloc", size_bytes))

    def free_device(self, address: int) -> None:
        """Give back memory on the device."""
        self._call("cudaFree", address)

    def stream(self) -> Any:
        """Return a stream."""
        return self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)

    def stream_number(self, stream: Any) -> int:
        """Return a stream as TensorRT takes it."""
        return int(stream)

    def destroy_stream(self, stream: Any) -> None:
        """Give back a stream."""
        self._call("cudaStreamDestroy", stream)

    def event(self) -> Any:
        """Return an event."""
        return self._call("cudaEventCreateWithFlags", self._runtime.cudaEventDisableTiming)

    def timed_event(self) -> Any:
        """Return an event that keeps the time."""
        return self._call("cudaEventCreateWithFlags", self._runtime.cudaEventDefault)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Return the ms between two events."""
        return float(self._call("cudaEventElapsedTime", start, end))

    def destroy_event(self, event: Any) -> None:
        """Give back an event."""
        self._call("cudaEventDestroy", event)

    def copy_in(self, address: int, array: NDArray[np.float32], stream: Any) -> None:
        """Start copying to the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, stream)

    def copy_out(self, array: NDArray[np.float32], address: int, stream: Any) -> None:
        """Start copying from the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, stream)

    def record(self, event: Any, stream: Any) -> None:
        """Record an event."""
        self._call("cudaEventRecord", event, stream)

    def wait(self, stream: Any, event: Any) -> None:
        """Let a stream wait for an event."""
        self._call("cudaStreamWaitEvent", stream, event, 0)

    def synchronize(self, event: Any) -> None:
        """Wait for an event."""
        self._call("cudaEventSynchronize", event)

    def drain(self, stream: Any) -> None:
        """Wait for a stream."""
        self._call("cudaStreamSynchronize", stream)

    def begin_capture(self, stream: Any) -> None:
        """Begin to record a graph; other threads may go on using CUDA."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: Any) -> Any:
        """Return what was recorded, ready to launch."""
        recorded = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", recorded, 0)
        finally:
            self._call("cudaGraphDestroy", recorded)

    def launch(self, graph: Any, stream: Any) -> None:
        """Start a graph."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """Give back a graph."""
        self._call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Nothing: the runtime API keeps one context a process."""

    def _call(self, function: str, *arguments: Any) -> Any:
        """Return the result of a call, None where it has none."""
        try:
            error, *results = getattr(self._runtime, function)(*arguments)
        except RuntimeError as refusal:  # cuda-bindings 12 where libcuda can't be loaded
            raise EngineError(
                f"CUDA can't be used ({function}: {one_line(refusal)}); install the NVIDIA driver"
            ) from None
        if int(error) == 0:
            return results[0] if results else None
        self._runtime.cudaGetLastError()  # told here: TensorRT must not take it for its own at its next launch
        name, text = (self._runtime.cudaGetErrorName(error)[1], self._runtime.cudaGetErrorString(error)[1])
        if int(error) == OUT_OF_MEMORY:
            raise no_memory(function)
        raise EngineError(f"CUDA failed ({function}: {_text(name)}, {_text(text)}); {REMEDY}")


def no_memory(function: str) -> OutOfDeviceMemory:
    """Return the error for a call that found too little memory."""
    return OutOfDeviceMemory(f"the GPU's memory does not suffice ({function}); {SMALLER}")


def _text(message: bytes | str) -> str:
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
