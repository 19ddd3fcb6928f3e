"""A batch that is timed has the answer of one that is not, and says what its copies and its computing took."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda_libraries import LOST, NO_MEMORY
from gpu_bench import KINDS, Bench, assert_right, tiles_of

from kda_edge.errors import EngineError, OutOfDeviceMemory

COST_MS = 7.0
PHASES_MS = {"copy_in": 2.0, "compute": COST_MS, "copy_out": 0.5}
WAIT_MS = 0.25


@pytest.fixture(params=KINDS, ids="-".join)
def bench(request: pytest.FixtureRequest) -> Bench:
    return slow_bench(*request.param)


def slow_bench(version: str = "10.3.0", library: str = "cuda-bindings", **fails: tuple[int, int]) -> Bench:
    bench = Bench(version, library, **fails)
    bench.gpu.copy_in_ms, bench.gpu.copy_out_ms = PHASES_MS["copy_in"], PHASES_MS["copy_out"]
    bench.gpu.wait_ms = WAIT_MS
    return bench


def test_phases_are_those_of_the_device_and_together_no_more_than_the_call(bench: Bench) -> None:
    with bench.runner(cost_ms=COST_MS) as runner:
        for seed, count in enumerate([1, 1, 1, 4, 4, 2, 2]):  # layer by layer, and where there are graphs by them
            tiles = tiles_of(count, seed)
            before_ms = bench.gpu.now_ms
            answer, phases_ms = runner.timed(tiles)
            taken_ms = bench.gpu.now_ms - before_ms
            assert phases_ms == PHASES_MS
            assert list(phases_ms) == list(PHASES_MS)
            assert sum(phases_ms.values()) == taken_ms - WAIT_MS
            assert_right(answer, tiles)
            np.testing.assert_array_equal(answer, runner(tiles))
    bench.gpu.require_clean()


def test_parts_of_a_large_batch_are_added_and_wait_for_one_another(bench: Bench) -> None:
    with bench.runner(cost_ms=COST_MS) as runner:
        before_ms = bench.gpu.now_ms
        answer, phases_ms = runner.timed(tiles_of(11))  # of 4, 4 and 3
        assert sum(phases_ms.values()) == bench.gpu.now_ms - before_ms - 3 * WAIT_MS
    assert phases_ms == {name: 3 * taken_ms for name, taken_ms in PHASES_MS.items()}
    assert_right(answer, tiles_of(11))


def test_no_tiles_take_no_time(bench: Bench) -> None:
    with bench.runner(cost_ms=COST_MS) as runner:
        answer, phases_ms = runner.timed(tiles_of(0))
    assert answer.shape == (0, 1, 8, 8)
    assert phases_ms == dict.fromkeys(PHASES_MS, 0.0)


def test_a_batch_that_is_filled_up_is_timed_too() -> None:
    with slow_bench().runner(cost_ms=COST_MS, batch=3) as runner:
        answer, phases_ms = runner.timed(tiles_of(2))
    assert_right(answer, tiles_of(2))
    assert phases_ms == PHASES_MS


def test_timed_calls_are_launched_as_graphs_as_the_others_are() -> None:
    bench = slow_bench()
    with bench.runner() as runner:
        for _ in range(4):
            runner.timed(tiles_of(2))
        assert (bench.gpu.log.count("compute"), bench.gpu.log.count("launch")) == (1, 3)
        runner(tiles_of(2))
        assert (bench.gpu.log.count("compute"), bench.gpu.log.count("launch")) == (1, 4)


def test_who_is_not_timed_pays_nothing_for_it() -> None:
    """What a call asks of CUDA is the same before and after one that is timed, and without one no event keeps time."""
    bench = slow_bench()
    with bench.runner() as runner:
        asked = []
        for is_timed in (False, False, False, True, False):
            bench.module.asked.clear()
            runner.timed(tiles_of(1)) if is_timed else runner(tiles_of(1))
            asked.append(list(bench.module.asked))
            assert any(event.keeps_time for event in bench.gpu.events) == (len(asked) > 3)
        assert asked[2] == asked[4]
        assert "cudaEventElapsedTime" not in asked[4]
    bench.gpu.require_clean()


def test_a_runner_at_work_or_closed_times_nothing(bench: Bench) -> None:
    with bench.runner() as runner:
        answers = runner.map([tiles_of(1, seed) for seed in range(3)])
        next(answers)
        with pytest.raises(EngineError, match="at work on other tiles"):
            runner.timed(tiles_of(1))
        assert len(list(answers)) == 2
        assert_right(runner.timed(tiles_of(1))[0], tiles_of(1))
    with pytest.raises(EngineError, match="closed"):
        runner.timed(tiles_of(1))
    bench.gpu.require_clean()


@pytest.mark.parametrize(
    ("call", "at"),
    [
        *[("cudaMemcpyAsync", at) for at in (1, 2)],
        *[("cudaEventRecord", at) for at in (1, 2, 3, 4)],
        *[("cudaEventElapsedTime", at) for at in (1, 2, 3)],
        ("cudaEventSynchronize", 1),
    ],
)
def test_wherever_cuda_fails_the_runner_stays_whole(call: str, at: int) -> None:
    bench = slow_bench(**{call: (LOST, at)})
    with bench.runner(cost_ms=COST_MS) as runner:
        with pytest.raises(EngineError, match=call):
            runner.timed(tiles_of(2))
        answer, phases_ms = runner.timed(tiles_of(3))
        assert_right(answer, tiles_of(3))
        assert phases_ms == PHASES_MS
    bench.gpu.require_clean()


@pytest.mark.parametrize("at", [7, 8, 10])
def test_events_that_there_is_no_memory_for_leave_nothing_behind(at: int) -> None:
    bench = slow_bench(cudaEventCreateWithFlags=(NO_MEMORY, at))  # a runner has six of its own
    with bench.runner(cost_ms=COST_MS) as runner:
        with pytest.raises(OutOfDeviceMemory):
            runner.timed(tiles_of(1))
        assert len(bench.gpu.events) == 6
        assert runner.timed(tiles_of(1))[1] == PHASES_MS
    bench.gpu.require_clean()
