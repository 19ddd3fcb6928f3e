"""The simulated device notices what a real one may forgive: each runner here is wrong in one way."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_cuda import Fault, SimulatedGpu
from fake_cuda_libraries import FakeRuntime
from fake_tensorrt_run import FakeLogger, FakeTensorrt, expected, plan_of

from kda_edge.runtime.hardware.cuda_bindings import CudaBindings
from kda_edge.runtime.tensorrt.library import Library
from kda_edge.runtime.tensorrt.loaded_engine import LoadedEngine, Slot
from kda_edge.runtime.tensorrt.runner import TensorRTRunner

SIDE_PX = 8
GENERATIONS = ("10.3.0", "11.4.0")


class Careless(CudaBindings):
    """Leaves out the calls that are named."""

    def __init__(self, runtime: Any, *left_out: str) -> None:
        super().__init__(runtime)
        for name in left_out:
            setattr(self, name, lambda *arguments: None)


def run(
    version: str,
    runner_class: Callable[..., TensorRTRunner] = TensorRTRunner,
    *left_out: str,
    change: Callable[[TensorRTRunner], None] = lambda runner: None,
) -> SimulatedGpu:
    """Answer batches of changing sizes and compare them; return the device after the runner was closed."""
    gpu = SimulatedGpu()
    runtime = FakeRuntime(gpu)
    library = Library(FakeTensorrt(gpu, runtime, version), version, FakeLogger())
    runner = runner_class(plan_of(SIDE_PX), library, Careless(runtime, *left_out), tile_px=SIDE_PX)
    change(runner)
    batches = [
        np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE_PX, SIDE_PX)).astype(np.float32)
        for seed, count in enumerate([2, 2, 2, 2, 2, 2, 4, 4, 4, 1, 3])
    ]
    for answer, tiles in zip(runner.map(batches), batches, strict=True):
        np.testing.assert_allclose(answer, expected(tiles), rtol=1e-6)
    runner.close()
    return gpu


@pytest.mark.parametrize("version", GENERATIONS)
def test_the_runner_that_ships_passes_where_the_others_fail(version: str) -> None:
    run(version).require_clean()


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("left_out", ["synchronize", "wait", "record"])
def test_a_missing_synchronisation_is_found(version: str, left_out: str) -> None:
    with pytest.raises(AssertionError, match=r"may still use it|before it was copied|Not equal"):
        run(version, TensorRTRunner, left_out)


class WaitsOnOneSide(TensorRTRunner):
    """Does not hold one of the streams back; `side` is counted over the waits of a batch."""

    side = 0

    def _submit(self, slot: Slot, tiles: np.ndarray) -> None:
        waits, wait = [0], self._cuda.wait

        def some(stream: Any, event: Any) -> None:
            waits[0] += 1
            if waits[0] - 1 != self.side:
                wait(stream, event)

        self._cuda.wait = some  # type: ignore[method-assign]
        try:
            super()._submit(slot, tiles)
        finally:
            self._cuda.wait = wait  # type: ignore[method-assign]


class WaitsBeforeComputing(WaitsOnOneSide):
    side = 1


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("faulty", [WaitsOnOneSide, WaitsBeforeComputing])
def test_a_stream_that_does_not_wait_for_the_one_before_is_found(version: str, faulty: type[TensorRTRunner]) -> None:
    with pytest.raises(Fault, match="may still use it"):
        run(version, faulty)


def one_slot_for_all(runner: TensorRTRunner) -> None:
    runner._loaded.slots[1] = runner._loaded.slots[0]


@pytest.mark.parametrize("version", GENERATIONS)
def test_a_buffer_that_is_used_again_before_its_copy_is_done_is_found(version: str) -> None:
    with pytest.raises(Fault, match=r"may still use it|written before it was copied"):
        run(version, change=one_slot_for_all)


def pinned_is_written_before_the_copy(runner: TensorRTRunner) -> None:
    copy_in = runner._cuda.copy_in

    def early(address: int, array: np.ndarray, stream: Any) -> None:
        copy_in(address, array, stream)
        array[:] = 0

    runner._cuda.copy_in = early  # type: ignore[method-assign]


@pytest.mark.parametrize("version", GENERATIONS)
def test_pinned_memory_that_is_written_before_it_is_copied_is_found(version: str) -> None:
    with pytest.raises(Fault, match="written before it was copied"):
        run(version, change=pinned_is_written_before_the_copy)


def unpinned(runner: TensorRTRunner) -> None:
    for slot in runner._loaded.slots:
        slot.image = np.zeros_like(slot.image)


def unpinned_answer(runner: TensorRTRunner) -> None:
    for slot in runner._loaded.slots:
        slot.probability = np.zeros_like(slot.probability)


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("change", [unpinned, unpinned_answer])
def test_host_memory_that_is_not_pinned_is_found(version: str, change: Callable[[TensorRTRunner], None]) -> None:
    with pytest.raises(Fault, match="no pinned memory"):
        run(version, change=change)


class ForgetsTheShape(TensorRTRunner):
    """Tells TensorRT the first batch's size and no other."""

    def _set_batch(self, slot: Slot, batch: int) -> None:
        if slot.batch == 0:
            super()._set_batch(slot, batch)
        slot.batch = batch


class NeverTellsTheShape(TensorRTRunner):
    def _set_batch(self, slot: Slot, batch: int) -> None:
        slot.batch = batch


class KeepsTheGraph(TensorRTRunner):
    """Goes on with the graph of another batch size."""

    def _set_batch(self, slot: Slot, batch: int) -> None:
        graph, slot.graph = slot.graph, None
        super()._set_batch(slot, batch)
        slot.graph = graph


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize(
    ("faulty", "found"),
    [
        (ForgetsTheShape, "Not equal"),
        (NeverTellsTheShape, "runs without a shape"),
        (KeepsTheGraph, "whose context has changed"),
    ],
)
def test_a_wrong_shape_is_found(version: str, faulty: type[TensorRTRunner], found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        run(version, faulty)


def moved(runner: TensorRTRunner) -> None:
    """Put a slot's input elsewhere and tell TensorRT nothing of it."""
    slot = runner._loaded.slots[1]
    runner._cuda.free_device(slot.image_address)
    slot.image_address = runner._cuda.device(slot.image.nbytes)


def moved_and_kept(runner: TensorRTRunner) -> None:
    slot = runner._loaded.slots[1]
    slot.image_address = runner._cuda.device(slot.image.nbytes)


def too_small(runner: TensorRTRunner) -> None:
    for slot in runner._loaded.slots:
        slot.context.set_tensor_address("image", runner._cuda.device(16))


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize(
    ("change", "found"),
    [(moved, "freed device memory is used"), (moved_and_kept, "Not equal"), (too_small, "memory is smaller")],
)
def test_a_stale_address_is_found(version: str, change: Callable[[TensorRTRunner], None], found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        run(version, change=change)


@pytest.mark.parametrize("version", GENERATIONS)
@pytest.mark.parametrize("left_out", ["free_device", "free_pinned", "destroy_event", "destroy_graph", "destroy_stream"])
def test_a_leak_at_the_end_is_found(version: str, left_out: str) -> None:
    gpu = run(version, TensorRTRunner, left_out)
    with pytest.raises(AssertionError, match="leaked"):
        gpu.require_clean()


def freed_before(runner: TensorRTRunner) -> None:
    loaded = runner._loaded
    close = loaded.close

    def twice() -> None:
        address = loaded.slots[0].image_address
        loaded.drain()
        loaded.cuda.free_device(address)
        close()

    loaded.close = twice  # type: ignore[method-assign]


@pytest.mark.parametrize("version", GENERATIONS)
def test_memory_that_is_freed_twice_is_found(version: str) -> None:
    with pytest.raises(Fault, match="freed twice"):
        run(version, change=freed_before)


@pytest.mark.parametrize("version", GENERATIONS)
def test_memory_that_is_freed_while_it_is_in_use_is_found(version: str) -> None:
    gpu = SimulatedGpu()
    runtime = FakeRuntime(gpu)
    library = Library(FakeTensorrt(gpu, runtime, version), version, FakeLogger())
    loaded = LoadedEngine(plan_of(SIDE_PX), library, Careless(runtime, "drain"), tile_px=SIDE_PX)
    slot = loaded.slots[0]
    loaded.cuda.copy_in(slot.image_address, slot.image, loaded.into)
    with pytest.raises(Fault):
        loaded.close()
    assert "has yet to use it" in gpu.faults[0]


@pytest.mark.parametrize("version", GENERATIONS)
def test_an_engine_that_is_kept_after_the_end_is_found(version: str) -> None:
    kept: list[Any] = []
    gpu = run(version, change=lambda runner: kept.append(runner._loaded.slots[0].context))
    with pytest.raises(AssertionError, match="leaked: Fake"):
        gpu.require_clean()
    kept.clear()
    gc.collect()
    gpu.require_clean()


def test_a_name_that_a_generation_does_not_have_is_found() -> None:
    gpu = SimulatedGpu()
    with pytest.raises(AttributeError, match=r"TensorRT 11\.4\.0 has no"):
        _ = (
            FakeTensorrt(gpu, None, "11.4.0")
            .Runtime(FakeLogger())
            .deserialize_cuda_engine(plan_of())
            .device_memory_size
        )
