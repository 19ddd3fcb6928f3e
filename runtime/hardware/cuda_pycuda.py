"""CUDA through pycuda; `cuda.Cuda` says what each method promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import EngineError, one_line

from .cuda_bindings import REMEDY, no_memory


class Pycuda:
    """CUDA through pycuda, in the device's primary context, which is TensorRT's too; pycuda has no graphs."""

    has_graphs = False

    def __init__(self, driver: Any, device_index: int = 0) -> None:
        """Make the device's primary context the current one of this thread.

        Args:
            driver: the module `pycuda.driver`.
            device_index: among those that the process sees.
        """
        self._driver = driver
        self._allocations: dict[int, Any] = {}  # memory lives as long as the object that stands for it
        self._call(driver.init)
        self._context = self._call(self._call(driver.Device, device_index).retain_primary_context)
        self._call(self._context.push)

    def pinned(self, floats: int) -> NDArray[np.float32]:
        """Return page-locked host memory."""
        array: NDArray[np.float32] = self._call(self._driver.pagelocked_empty, floats, np.float32)
        return array

    def free_pinned(self, array: NDArray[np.float32]) -> None:
        """Give back page-locked host memory."""
        allocation: Any = array.base
        self._call(allocation.free)

    def device(self, size_bytes: int) -> int:
        """Return the address of new memory on the device."""
        allocation = self._call(self._driver.mem_alloc, size_bytes)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free_device(self, address: int) -> None:
        """Give back memory on the device."""
        self._call(self._allocations.pop(address).free)

    def stream(self) -> Any:
        """Return a stream."""
        return self._call(self._driver.Stream, 1)  # CU_STREAM_NON_BLOCKING

    def stream_number(self, stream: Any) -> int:
        """Return a stream as TensorRT takes it."""
        return int(stream.handle)

    def destroy_stream(self, stream: Any) -> None:
        """Nothing: a stream of pycuda goes with its last reference."""

    def event(self) -> Any:
        """Return an event."""
        return self._call(self._driver.Event, self._driver.event_flags.DISABLE_TIMING)

    def timed_event(self) -> Any:
        """Return an event that keeps the time."""
        return self._call(self._driver.Event)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Return the ms between two events."""
        return float(self._call(start.time_till, end))

    def destroy_event(self, event: Any) -> None:
        """Nothing: an event of pycuda goes with its last reference."""

    def copy_in(self, address: int, array: NDArray[np.float32], stream: Any) -> None:
        """Start copying to the device."""
        self._call(self._driver.memcpy_htod_async, address, array, stream)

    def copy_out(self, array: NDArray[np.float32], address: int, stream: Any) -> None:
        """Start copying from the device."""
        self._call(self._driver.memcpy_dtoh_async, array, address, stream)

    def record(self, event: Any, stream: Any) -> None:
        """Record an event."""
        self._call(event.record, stream)

    def wait(self, stream: Any, event: Any) -> None:
        """Let a stream wait for an event."""
        self._call(stream.wait_for_event, event)

    def synchronize(self, event: Any) -> None:
        """Wait for an event."""
        self._call(event.synchronize)

    def drain(self, stream: Any) -> None:
        """Wait for a stream."""
        self._call(stream.synchronize)

    def begin_capture(self, stream: Any) -> None:
        """Refuse; ask `has_graphs` first."""
        raise EngineError("pycuda has no CUDA graphs; install cuda-bindings")

    def end_capture(self, stream: Any) -> Any:
        """Refuse; ask `has_graphs` first."""
        raise EngineError("pycuda has no CUDA graphs; install cuda-bindings")

    def launch(self, graph: Any, stream: Any) -> None:
        """Refuse; ask `has_graphs` first."""
        raise EngineError("pycuda has no CUDA graphs; install cuda-bindings")

    def destroy_graph(self, graph: Any) -> None:
        """Refuse; ask `has_graphs` first."""
        raise EngineError("pycuda has no CUDA graphs; install cuda-bindings")

    def close(self) -> None:
        """Leave the primary context and let go of it."""
        self._call(self._context.pop)
        self._call(self._context.detach)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._driver.MemoryError:
            raise no_memory(function.__name__) from None
        except self._driver.Error as error:
            raise EngineError(f"CUDA failed ({function.__name__}: {one_line(error)}); {REMEDY}") from error
