from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_cuda_libraries import LOST, NO_MEMORY
from fake_tensorrt_run import plan_of
from gpu_bench import KINDS, SIDE_PX, Bench, assert_right, tiles_of

from kda_edge.errors import EngineError, OutOfDeviceMemory
from kda_edge.runtime.tensorrt.runner import TensorRTRunner


@pytest.fixture(params=KINDS, ids="-".join)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(*request.param)


def test_a_failure_is_one_line_with_what_tensorrt_said_and_the_next_call_works(bench: Bench) -> None:
    with bench.runner() as runner:
        bench.trt.gives["execute_async_v3"] = False
        with pytest.raises(EngineError, match=r"compute 2 tiles \(IExecutionContext::enqueueV3.*no kernel") as caught:
            runner(tiles_of(2))
        assert "\n" not in str(caught.value)
        bench.trt.gives = {"get_tensor_shape": (2, 2, SIDE_PX, SIDE_PX)}
        with pytest.raises(EngineError, match=r"with the shape \(2, 2, 8, 8\)"):
            runner(tiles_of(3))
        bench.trt.gives.clear()
        assert_right(runner(tiles_of(3)), tiles_of(3))
    bench.gpu.require_clean()


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaEventRecord", "cudaStreamWaitEvent", "cudaEventSynchronize"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_wherever_cuda_fails_within_a_sequence_the_runner_stays_whole(call: str, at: int) -> None:
    bench = Bench(**{call: (LOST, at)})
    batches = [tiles_of(2, seed) for seed in range(5)]
    with bench.runner() as runner:
        with pytest.raises(EngineError, match=call):
            list(runner.map(batches))
        for answer, tiles in zip(runner.map(batches), batches, strict=True):
            assert_right(answer, tiles)
    bench.gpu.require_clean()


@pytest.mark.parametrize(
    "call", ["cudaHostAlloc", "cudaMalloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags"]
)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_engine_that_does_not_fit_leaves_nothing_behind(call: str, at: int) -> None:
    bench = Bench(**{call: (NO_MEMORY, at)})
    with pytest.raises(OutOfDeviceMemory, match="smaller batch"):
        bench.runner()
    bench.gpu.require_clean()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"create_execution_context": None}, "can't prepare the engine"),
        ({"set_tensor_address": False}, "refused the memory for image"),
    ],
)
def test_a_refusal_while_loading_leaves_nothing_behind(fault: dict[str, Any], said: str) -> None:
    bench = Bench()
    bench.trt.gives = fault
    with pytest.raises(EngineError, match=said):
        bench.runner()
    bench.gpu.require_clean()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"names": ["image", "logits"]}, "logits"),
        ({"names": ["image", "probability", "features"]}, "features"),
        ({"half": "probability"}, "no student"),
    ],
    ids=str,
)
def test_an_engine_of_something_else_is_refused(facts: dict[str, Any], said: str) -> None:
    bench = Bench()
    with pytest.raises(EngineError, match=said):
        bench.runner(**facts)
    bench.gpu.require_clean()


def test_an_engine_of_other_tiles_or_no_engine_is_refused() -> None:
    bench = Bench()
    with pytest.raises(EngineError, match="for 32 px tiles"):
        TensorRTRunner(plan_of(64), bench.library, bench.cuda, tile_px=32)
    with pytest.raises(
        EngineError, match=r"can't read the engine \(IRuntime.*Serialization\); delete it from the cache"
    ):
        TensorRTRunner(b"not an engine", bench.library, bench.cuda, tile_px=32)
    bench.gpu.require_clean()


@pytest.mark.parametrize(
    "tiles",
    [
        np.zeros((1, 3, 8, 9), np.float32),
        np.zeros((3, 8, 8), np.float32),
        np.zeros((1, 3, 8, 8)),
        np.zeros(3, np.float32),
    ],
    ids=lambda tiles: f"{tiles.dtype}{tiles.shape}",
)
def test_tiles_of_another_shape_or_type_never_reach_the_device(tiles: np.ndarray) -> None:
    bench = Bench()
    with bench.runner() as runner, pytest.raises(EngineError, match=r"takes float32 tiles \(N, 3, 8, 8\)"):
        runner(tiles)
    assert "copy in" not in bench.gpu.log


def test_everything_goes_back_once_contexts_before_their_engine_and_memory_after_contexts() -> None:
    bench = Bench()
    runner = bench.runner()
    runner(tiles_of(1))
    runner(tiles_of(1))
    bench.gpu.log.clear()
    runner.close()
    runner.close()
    of_a_slot = ["destroy event"] * 3 + ["free device"] * 2 + ["free pinned"] * 2
    assert bench.gpu.log == [
        *("drop context", *of_a_slot),
        *("destroy graph", "drop context", *of_a_slot),
        *("free device", "drop engine", "drop runtime"),
        *["destroy stream"] * 3,
    ]
    bench.gpu.require_clean()


def test_a_closed_runner_says_so(bench: Bench) -> None:
    runner = bench.runner()
    answers = runner.map([tiles_of(1, seed) for seed in range(5)])
    next(answers)
    runner.close()
    bench.gpu.require_clean()
    for use in (lambda: runner(tiles_of(1)), lambda: next(answers), lambda: runner.map([])):
        with pytest.raises(EngineError, match="closed"):
            use()


def test_a_reader_who_stops_early_leaves_the_runner_usable(bench: Bench) -> None:
    batches = [tiles_of(2, seed) for seed in range(6)]
    with bench.runner() as runner:
        answers = runner.map(batches)
        next(answers)
        with pytest.raises(EngineError, match="at work on other tiles"):
            runner(batches[0])
        answers.close()
        assert_right(runner(batches[5]), batches[5])

        def broken() -> Iterator[np.ndarray]:
            yield from batches[:3]
            raise OSError("the scene ended")

        with pytest.raises(OSError, match="the scene ended"):
            list(runner.map(broken()))
        assert_right(runner(batches[4]), batches[4])
    bench.gpu.require_clean()


def test_a_device_that_is_lost_at_the_end_is_said_and_hides_no_error(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(cudaFree=(LOST, 0), cudaStreamSynchronize=(LOST, 0))
    with caplog.at_level(logging.WARNING, "kda_edge"), pytest.raises(KeyError), bench.runner():
        raise KeyError
    assert len(caplog.records) == 5  # as many as there are pieces of memory on the device
    assert all("did not take back" in record.message for record in caplog.records)
