from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_cuda import Fault, SimulatedGpu
from fake_cuda_libraries import INVALIDATED, LOST, NO_MEMORY, FakePycuda, FakeRuntime

from kda_edge.errors import EngineError, MissingDependency, OutOfDeviceMemory
from kda_edge.runtime.hardware.cuda import Cuda, open_cuda
from kda_edge.runtime.hardware.cuda_bindings import CudaBindings
from kda_edge.runtime.hardware.cuda_pycuda import Pycuda

MAKERS: dict[str, Callable[[SimulatedGpu], Cuda]] = {
    "cuda-bindings": lambda gpu: CudaBindings(FakeRuntime(gpu)),
    "pycuda": lambda gpu: Pycuda(FakePycuda(gpu)),
}


@pytest.fixture(params=MAKERS)
def make_cuda(request: pytest.FixtureRequest) -> Callable[[SimulatedGpu], Cuda]:
    return MAKERS[request.param]


def test_numbers_come_back_from_the_device_once_the_event_is_waited_for(
    make_cuda: Callable[[SimulatedGpu], Cuda],
) -> None:
    gpu = SimulatedGpu()
    cuda = make_cuda(gpu)
    there, back, address = cuda.pinned(5), cuda.pinned(5), cuda.device(20)
    into, out_of, arrived, answered = cuda.stream(), cuda.stream(), cuda.event(), cuda.event()
    there[:] = range(5)
    cuda.copy_in(address, there, into)
    cuda.record(arrived, into)
    cuda.wait(out_of, arrived)
    cuda.copy_out(back, address, out_of)
    cuda.record(answered, out_of)
    assert np.isnan(back).all()  # the fake is late on purpose
    cuda.synchronize(answered)
    assert back.tolist() == [0, 1, 2, 3, 4]
    cuda.drain(into)
    cuda.drain(out_of)
    for array in (there, back):
        cuda.free_pinned(array)
    cuda.free_device(address)
    for event in (arrived, answered):
        cuda.destroy_event(event)
    for stream in (into, out_of):
        cuda.destroy_stream(stream)
    cuda.close()
    del stream, event, into, out_of, arrived, answered
    gpu.require_clean()


def test_the_time_between_two_events_is_that_of_what_was_told_between_them(
    make_cuda: Callable[[SimulatedGpu], Cuda],
) -> None:
    gpu = SimulatedGpu()
    gpu.copy_in_ms = 3.0
    cuda = make_cuda(gpu)
    there, address, stream = cuda.pinned(5), cuda.device(20), cuda.stream()
    events = [cuda.timed_event() for _ in range(3)]
    for event in events:
        cuda.record(event, stream)
        cuda.copy_in(address, there, stream)
    cuda.drain(stream)
    assert cuda.elapsed_ms(events[0], events[1]) == 3.0
    assert cuda.elapsed_ms(events[0], events[2]) == 6.0


def test_events_without_timing_or_that_have_not_happened_have_no_time_between_them(
    make_cuda: Callable[[SimulatedGpu], Cuda],
) -> None:
    cuda = make_cuda(SimulatedGpu())
    stream = cuda.stream()
    for make, wait in ((cuda.event, True), (cuda.timed_event, False)):
        start, end = make(), make()
        cuda.record(start, stream)
        cuda.record(end, stream)
        if wait:
            cuda.synchronize(end)
        with pytest.raises(EngineError, match="CUDA failed"):
            cuda.elapsed_ms(start, end)
    cuda.drain(stream)


def test_a_part_of_pinned_memory_can_be_copied(make_cuda: Callable[[SimulatedGpu], Cuda]) -> None:
    cuda = make_cuda(SimulatedGpu())
    there, back, address, stream = cuda.pinned(8), cuda.pinned(8), cuda.device(12), cuda.stream()
    there[:] = 7
    cuda.copy_in(address, there[:3], stream)
    cuda.copy_out(back[:3], address, stream)
    cuda.drain(stream)
    assert back[:3].tolist() == [7, 7, 7]
    assert np.isnan(back[3:]).all()


def test_memory_of_no_library_is_not_taken_for_pinned(make_cuda: Callable[[SimulatedGpu], Cuda]) -> None:
    cuda = make_cuda(SimulatedGpu())
    with pytest.raises(Fault, match="no pinned memory"):
        cuda.copy_in(cuda.device(12), np.zeros(3, np.float32), cuda.stream())


def test_a_full_device_is_an_error_with_a_remedy() -> None:
    for cuda in (
        CudaBindings(FakeRuntime(SimulatedGpu(), fails={"cudaMalloc": (NO_MEMORY, 0)})),
        Pycuda(FakePycuda(SimulatedGpu(), memory_bytes=10)),
    ):
        with pytest.raises(OutOfDeviceMemory, match="smaller batch") as caught:
            cuda.device(100)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("cudaHostAlloc", lambda cuda: cuda.pinned(1)),
        ("cudaMalloc", lambda cuda: cuda.device(1)),
        ("cudaStreamCreateWithFlags", lambda cuda: cuda.stream()),
        ("cudaEventCreateWithFlags", lambda cuda: cuda.event()),
        ("cudaEventCreateWithFlags", lambda cuda: cuda.timed_event()),
        ("cudaEventElapsedTime", lambda cuda: cuda.elapsed_ms(cuda.timed_event(), cuda.timed_event())),
        ("cudaMemcpyAsync", lambda cuda: cuda.copy_in(cuda.device(4), cuda.pinned(1), cuda.stream())),
        ("cudaMemcpyAsync", lambda cuda: cuda.copy_out(cuda.pinned(1), cuda.device(4), cuda.stream())),
        ("cudaEventRecord", lambda cuda: cuda.record(cuda.event(), cuda.stream())),
        ("cudaStreamWaitEvent", lambda cuda: cuda.wait(cuda.stream(), cuda.event())),
        ("cudaEventSynchronize", lambda cuda: cuda.synchronize(cuda.event())),
        ("cudaStreamSynchronize", lambda cuda: cuda.drain(cuda.stream())),
        ("cudaStreamBeginCapture", lambda cuda: cuda.begin_capture(cuda.stream())),
        ("cudaStreamEndCapture", lambda cuda: cuda.end_capture(cuda.stream())),
        ("cudaFree", lambda cuda: cuda.free_device(cuda.device(4))),
        ("cudaFreeHost", lambda cuda: cuda.free_pinned(cuda.pinned(1))),
        ("cudaEventDestroy", lambda cuda: cuda.destroy_event(cuda.event())),
        ("cudaStreamDestroy", lambda cuda: cuda.destroy_stream(cuda.stream())),
    ],
)
def test_no_error_of_cuda_bindings_goes_unseen(call: str, use: Callable[[Cuda], Any]) -> None:
    runtime = FakeRuntime(SimulatedGpu(), fails={call: (LOST, 0)})
    with pytest.raises(EngineError, match=rf"{call}: error{LOST}, it did not work.*restart") as caught:
        use(CudaBindings(runtime))
    assert not isinstance(caught.value, OutOfDeviceMemory)
    assert runtime.last_error == 0, "TensorRT would take the error for its own"


def test_a_capture_that_fails_leaves_the_stream_usable_and_nothing_behind() -> None:
    for fails in ({"cudaStreamEndCapture": (INVALIDATED, 0)}, {"cudaGraphInstantiate": (LOST, 0)}):
        gpu = SimulatedGpu()
        cuda = CudaBindings(FakeRuntime(gpu, fails=fails))
        stream = cuda.stream()
        cuda.begin_capture(stream)
        with pytest.raises(EngineError):
            cuda.end_capture(stream)
        cuda.drain(stream)
        cuda.destroy_stream(stream)
        gpu.require_clean()


def test_pycuda_says_that_it_has_no_graphs() -> None:
    cuda = Pycuda(FakePycuda(SimulatedGpu()))
    assert not cuda.has_graphs
    for use in (cuda.begin_capture, cuda.end_capture, cuda.destroy_graph):
        with pytest.raises(EngineError, match="cuda-bindings"):
            use(None)


def test_pycuda_leaves_the_context_that_it_entered() -> None:
    driver = FakePycuda(SimulatedGpu())
    cuda = Pycuda(driver)
    assert driver.contexts == 1
    cuda.close()
    assert driver.contexts == 0
    assert driver.gpu.log == ["detach"]


def modules(**there: Any) -> Callable[[str], Any]:
    def import_module(name: str) -> Any:
        found = there.get(name.replace(".", "_"))
        if isinstance(found, Exception):
            raise found
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found

    return import_module


def test_cuda_bindings_are_preferred_and_pycuda_will_do() -> None:
    runtime, driver = FakeRuntime(SimulatedGpu()), FakePycuda(SimulatedGpu())
    both = open_cuda(import_module=modules(cuda_bindings_runtime=runtime, pycuda_driver=driver))
    assert isinstance(both, CudaBindings)
    assert runtime.asked == ["cudaSetDevice"]
    assert isinstance(open_cuda(import_module=modules(pycuda_driver=driver)), Pycuda)


def test_with_neither_library_the_extra_is_named() -> None:
    with pytest.raises(MissingDependency, match=r"kda-edge\[tensorrt\]"):
        open_cuda(import_module=modules())


def test_a_library_that_does_not_load_is_not_called_missing() -> None:
    with pytest.raises(EngineError, match=r"can't be loaded \(libcudart.so.12: cannot open\)"):
        open_cuda(import_module=modules(cuda_bindings_runtime=ImportError("libcudart.so.12: cannot open\nmore")))


def test_the_fake_has_the_calls_of_the_real_library_with_their_parameters() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    calls = [name for name in vars(FakeRuntime) if name.startswith("cuda") and callable(getattr(FakeRuntime, name))]
    calls = [name for name in calls if not isinstance(getattr(FakeRuntime, name), type)]
    assert len(calls) > 20
    for name in calls:
        described = getattr(runtime, name).__doc__.strip().splitlines()[0]
        inside = described[described.index("(") + 1 : described.rindex(")")]
        names = [part.split(":")[0].split()[-1] for part in inside.split(",") if part]
        assert list(inspect.signature(getattr(FakeRuntime, name)).parameters)[1:] == names, name
    for name in ("cudaHostAllocDefault", "cudaStreamNonBlocking", "cudaEventDefault", "cudaEventDisableTiming"):
        assert getattr(runtime, name) == getattr(FakeRuntime, name)
    for kind in (FakeRuntime.cudaMemcpyKind, FakeRuntime.cudaStreamCaptureMode):
        for member in kind:
            assert getattr(getattr(runtime, kind.__name__), member.name) == member


def test_the_real_cuda_bindings_refuse_in_one_line_where_there_is_no_driver() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    runtime = importlib.import_module("cuda.bindings.runtime")
    try:
        error, _ = runtime.cudaGetDeviceCount()
    except RuntimeError:
        error = 1
    if int(error) == 0:
        pytest.skip("there is a GPU here")
    with pytest.raises(EngineError) as caught:
        open_cuda()
    assert "\n" not in str(caught.value)
