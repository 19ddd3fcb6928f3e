# ruff: noqa: N802, N803 -- the names are NVIDIA's
"""`cuda.bindings.runtime` and `pycuda.driver` on a simulated device, with as much of them as the runtime uses."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from fake_cuda import FakeEvent, FakeStream, SimulatedGpu

SUCCESS, NO_MEMORY, INVALID_HANDLE, NOT_READY, LOST, INVALIDATED = 0, 2, 400, 600, 719, 901


class FakeRuntime:
    """`cuda.bindings.runtime`: each call returns its error first; `fails` maps a call's name to (error, at which call).

    Attributes:
        asked: names of the calls, in order.
        last_error: what cudaGetLastError would return.
    """

    cudaHostAllocDefault = 0  # noqa: N815  # NVIDIA's names
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaEventDefault = 0  # noqa: N815
    cudaEventDisableTiming = 2  # noqa: N815

    class cudaMemcpyKind(enum.IntEnum):  # noqa: N801
        cudaMemcpyHostToDevice = 1  # noqa: N815
        cudaMemcpyDeviceToHost = 2  # noqa: N815

    class cudaStreamCaptureMode(enum.IntEnum):  # noqa: N801
        cudaStreamCaptureModeThreadLocal = 1  # noqa: N815

    def __init__(self, gpu: SimulatedGpu, *, fails: dict[str, tuple[int, int]] | None = None) -> None:
        self.gpu = gpu
        self.asked: list[str] = []
        self.last_error = SUCCESS
        self._fails = fails or {}
        self._handles: dict[int, Any] = {}
        self._given_out = 0

    def _error(self, name: str) -> int:
        self.asked.append(name)
        code, at = self._fails.get(name, (SUCCESS, 0))
        code = code if at in (0, self.asked.count(name)) else SUCCESS
        self.last_error = code or self.last_error
        return code

    def _given(self, thing: Any) -> int:
        self._given_out += 1
        handle = 0x5000 + 16 * self._given_out
        self._handles[handle] = thing
        return handle

    def of(self, handle: Any) -> Any:
        """Return the thing that a handle, or its number, stands for."""
        if int(handle) not in self._handles:
            raise self.gpu.fault("a handle is used or destroyed that is none, or no more")
        return self._handles[int(handle)]

    def _destroy(self, kind: str, known: list[Any], handle: Any) -> None:
        self.gpu.destroy(kind, known, self.of(handle))
        del self._handles[int(handle)]

    def cudaSetDevice(self, device):
        return (self._error("cudaSetDevice"),)

    def cudaGetLastError(self):
        error, self.last_error = self.last_error, SUCCESS
        return (error,)

    def cudaGetErrorName(self, error):
        return SUCCESS, f"error{int(error)}".encode()

    def cudaGetErrorString(self, error):
        return SUCCESS, b"it did not work"

    def cudaHostAlloc(self, size, flags):
        error = self._error("cudaHostAlloc")
        return (error, None) if error else (SUCCESS, self.gpu.allocate("pinned", size).address)

    def cudaFreeHost(self, ptr):
        error = self._error("cudaFreeHost")
        if not error:
            self.gpu.free("pinned", ptr)
        return (error,)

    def cudaMalloc(self, size):
        error = self._error("cudaMalloc")
        return (error, None) if error else (SUCCESS, self.gpu.allocate("device", size).address)

    def cudaFree(self, devPtr):
        error = self._error("cudaFree")
        if not error:
            self.gpu.free("device", devPtr)
        return (error,)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        error = self._error("cudaMemcpyAsync")
        if not error:
            assert isinstance(kind, self.cudaMemcpyKind)
            copy = self.gpu.copy_in if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice else self.gpu.copy_out
            copy(dst, src, count, self.of(stream))
        return (error,)

    def cudaStreamCreateWithFlags(self, flags):
        assert flags == self.cudaStreamNonBlocking
        error = self._error("cudaStreamCreateWithFlags")
        return (error, None) if error else (SUCCESS, self._given(self.gpu.new_stream()))

    def cudaStreamDestroy(self, stream):
        error = self._error("cudaStreamDestroy")
        if not error:
            self._destroy("stream", self.gpu.streams, stream)
        return (error,)

    def cudaStreamSynchronize(self, stream):
        error = self._error("cudaStreamSynchronize")
        if not error:
            self.gpu.drain(self.of(stream))
        return (error,)

    def cudaStreamWaitEvent(self, stream, event, flags):
        error = self._error("cudaStreamWaitEvent")
        if not error:
            self.gpu.wait(self.of(stream), self.of(event))
        return (error,)

    def cudaEventCreateWithFlags(self, flags):
        assert flags in (self.cudaEventDefault, self.cudaEventDisableTiming)
        error = self._error("cudaEventCreateWithFlags")
        if error:
            return error, None
        self.gpu.events.append(FakeEvent(keeps_time=flags == self.cudaEventDefault))
        return SUCCESS, self._given(self.gpu.events[-1])

    def cudaEventDestroy(self, event):
        error = self._error("cudaEventDestroy")
        if not error:
            self._destroy("event", self.gpu.events, event)
        return (error,)

    def cudaEventRecord(self, event, stream):
        error = self._error("cudaEventRecord")
        if not error:
            self.gpu.record(self.of(event), self.of(stream))
        return (error,)

    def cudaEventSynchronize(self, event):
        error = self._error("cudaEventSynchronize")
        if not error:
            self.gpu.synchronize(self.of(event))
        return (error,)

    def cudaEventElapsedTime(self, start, end):
        error = self._error("cudaEventElapsedTime")
        found = self.gpu.elapsed_ms(self.of(start), self.of(end))
        if isinstance(found, str) and not error:
            error = self.last_error = NOT_READY if found == "not ready" else INVALID_HANDLE
        return (error, None) if error else (SUCCESS, found)

    def cudaStreamBeginCapture(self, stream, mode):
        assert isinstance(mode, self.cudaStreamCaptureMode)
        error = self._error("cudaStreamBeginCapture")
        if not error:
            self.of(stream).captured = []
        return (error,)

    def cudaStreamEndCapture(self, stream):
        error = self._error("cudaStreamEndCapture")
        captured, self.of(stream).captured = self.of(stream).captured, None
        if self.gpu.refuses_capture and not error:
            error = self.last_error = INVALIDATED
        return (error, None) if error else (SUCCESS, self._kept(captured))

    def _kept(self, graph: Any) -> int:
        self.gpu.graphs.append(graph)
        return self._given(graph)

    def cudaGraphInstantiate(self, graph, flags):
        error = self._error("cudaGraphInstantiate")
        return (error, None) if error else (SUCCESS, self._kept(list(self.of(graph))))

    def cudaGraphDestroy(self, graph):
        error = self._error("cudaGraphDestroy")
        if not error:
            self._destroy("recording", self.gpu.graphs, graph)
        return (error,)

    def cudaGraphLaunch(self, graphExec, stream):
        error = self._error("cudaGraphLaunch")
        if not error:
            self.gpu.launch_graph(self.of(graphExec), self.of(stream))
        return (error,)

    def cudaGraphExecDestroy(self, graphExec):
        error = self._error("cudaGraphExecDestroy")
        if not error:
            self._destroy("graph", self.gpu.graphs, graphExec)
        return (error,)


class FakePycuda:
    """`pycuda.driver`: errors are raised, memory has a `free`, streams and events go with their last reference."""

    class Error(Exception): ...

    class MemoryError(Error): ...  # noqa: A001  # pycuda's name

    class event_flags(enum.IntEnum):  # noqa: N801
        DISABLE_TIMING = 2

    def __init__(self, gpu: SimulatedGpu, *, memory_bytes: int = 1 << 30) -> None:
        self.gpu = gpu
        self.contexts = 0  # pushed and not popped
        self._left_bytes = memory_bytes
        self._streams: dict[int, FakeStream] = {}
        module = self

        class Context:
            def push(self):
                module.contexts += 1

            @staticmethod
            def pop():
                module.contexts -= 1

            def detach(self):
                gpu.log.append("detach")

        class Device:
            def __init__(self, number):
                assert number == 0

            def retain_primary_context(self):
                return Context()

        class DeviceAllocation:
            def __init__(self, size):
                if size > module._left_bytes:
                    raise module.MemoryError("cuMemAlloc failed: out of memory")
                self._address = gpu.allocate("device", size).address

            def __int__(self):
                return self._address

            def free(self):
                gpu.free("device", self._address)

        class PagelockedHostAllocation:
            def __init__(self, floats):
                self._memory = gpu.allocate("pinned", 4 * floats)
                self.__array_interface__ = {**self._memory.data.view(np.float32).__array_interface__, "version": 3}

            def free(self):
                gpu.free("pinned", self._memory.address)

        class Stream:
            def __init__(self, flags=0):
                assert flags == 1
                self._stream = gpu.new_stream()
                self.handle = 0x9000 + 16 * len(module._streams)
                module._streams[self.handle] = self._stream
                gpu.live.add(self)

            def __del__(self):
                gpu.destroy("stream", gpu.streams, self._stream)

            def synchronize(self):
                gpu.drain(self._stream)

            def wait_for_event(self, evt):
                gpu.wait(self._stream, evt._event)

        class Event:
            def __init__(self, flags=0):
                assert flags in (0, module.event_flags.DISABLE_TIMING)
                self._event = FakeEvent(keeps_time=flags == 0)
                gpu.live.add(self)

            def record(self, stream=None):
                gpu.record(self._event, stream._stream)
                return self

            def synchronize(self):
                gpu.synchronize(self._event)
                return self

            def time_till(self, event):
                found = gpu.elapsed_ms(self._event, event._event)
                if isinstance(found, str):
                    raise module.Error(f"cuEventElapsedTime failed: {found}")
                return found

        def memcpy_htod_async(dest, src, stream=None):
            gpu.copy_in(dest, src.ctypes.data, src.nbytes, stream._stream)

        def memcpy_dtoh_async(dest, src, stream=None):
            gpu.copy_out(dest.ctypes.data, src, dest.nbytes, stream._stream)

        def pagelocked_empty(shape, dtype):
            return np.asarray(PagelockedHostAllocation(shape))

        self.init = lambda: None
        self.Device, self.Stream, self.Event, self.mem_alloc = Device, Stream, Event, DeviceAllocation
        self.memcpy_htod_async, self.memcpy_dtoh_async = memcpy_htod_async, memcpy_dtoh_async
        self.pagelocked_empty = pagelocked_empty

    def of(self, handle: int) -> FakeStream:
        """Return the stream of a handle."""
        return self._streams[handle]
