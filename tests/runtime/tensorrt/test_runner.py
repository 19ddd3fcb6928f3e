from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import numpy as np
import pytest
from fake_tensorrt_run import VERSIONS, recorded_names
from forks import in_a_fork
from gpu_bench import KINDS, Bench, assert_right, tiles_of

from kda_edge.errors import EngineError, UsageError
from kda_edge.runtime.tensorrt.loaded_engine import USED_TO_RUN


@pytest.fixture(params=KINDS, ids="-".join)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(*request.param)


def test_each_batch_gets_its_own_answer_and_nothing_is_left_on_the_device(bench: Bench) -> None:
    with bench.runner() as runner:
        assert runner.max_batch == 4
        for seed, count in enumerate([1, 1, 1, 4, 4, 2, 1, 3]):
            tiles = tiles_of(count, seed)
            assert_right(runner(tiles), tiles)
    bench.gpu.require_clean()


def test_a_sequence_of_batches_is_answered_in_order_whatever_their_sizes(bench: Bench) -> None:
    batches = [tiles_of(count, seed) for seed, count in enumerate([2, 2, 2, 0, 9, 4, 4, 1, 0, 5, 5, 5, 5])]
    with bench.runner() as runner:
        answers = list(runner.map(iter(batches)))
    assert [len(answer) for answer in answers] == [len(tiles) for tiles in batches]
    for answer, tiles in zip(answers, batches, strict=True):
        assert_right(answer, tiles)
    bench.gpu.require_clean()


def test_the_next_batch_is_on_its_way_before_the_last_answer_is_waited_for(bench: Bench) -> None:
    """What overlaps can't be timed here; that the order of calls allows it can be seen."""
    with bench.runner() as runner:
        asked: list[int] = []

        def batches() -> Iterator[np.ndarray]:
            for seed in range(4):
                asked.append(seed)
                yield tiles_of(1, seed)

        answers = runner.map(batches())
        assert_right(next(answers), tiles_of(1, 0))
        assert asked == [0, 1]
        assert bench.gpu.log.count("copy in") == 2
        assert bench.gpu.kernels_run == 1  # the second was started and not waited for
        assert_right(next(answers), tiles_of(1, 1))
        assert len(list(answers)) == 2
    bench.gpu.require_clean()


def test_a_batch_above_the_profile_is_split_and_put_together(bench: Bench) -> None:
    tiles = tiles_of(11)
    with bench.runner() as runner:
        assert_right(runner(tiles), tiles)
        assert bench.gpu.kernels_run == 3


def test_an_engine_of_one_batch_only_is_filled_up() -> None:
    for facts in ({"batches": [3, 3, 3]}, {"batch": 3}):
        bench = Bench()
        with bench.runner(**facts, dla_core=0) as runner:
            for count in (1, 2, 3, 7):
                assert_right(runner(tiles_of(count, count)), tiles_of(count, count))
        bench.gpu.require_clean()


def test_the_launches_of_a_size_become_graphs_after_one_by_layers() -> None:
    bench = Bench()
    with bench.runner() as runner:
        for seed in range(8):
            assert_right(runner(tiles_of(2, seed)), tiles_of(2, seed))
        assert bench.gpu.log.count("compute") == 1  # a call alone takes the first slot, so one warm-up
        assert bench.gpu.log.count("launch") == 7
        assert len(bench.gpu.graphs) == 1
        runner(tiles_of(3))
        assert bench.gpu.graphs == []  # it held for two tiles
        for seed in range(3):
            assert_right(runner(tiles_of(2, seed)), tiles_of(2, seed))
        assert (bench.gpu.log.count("compute"), bench.gpu.log.count("launch")) == (3, 9)
    bench.gpu.require_clean()


def test_without_graphs_each_launch_is_a_plain_one(bench: Bench) -> None:
    with bench.runner(graphs=False) as runner:
        for _ in range(3):
            runner(tiles_of(1))
    assert bench.gpu.log.count("compute") == 3
    assert "launch" not in bench.gpu.log


@pytest.mark.parametrize("stage", ["begin", "end", "instantiate"])
def test_a_capture_that_fails_costs_a_line_in_the_log_and_no_answer(
    stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls = {"begin": "cudaStreamBeginCapture", "end": "cudaStreamEndCapture", "instantiate": "cudaGraphInstantiate"}
    bench = Bench(**{calls[stage]: (901, 0)})
    with bench.runner() as runner, caplog.at_level(logging.WARNING, "kda_edge"):
        for seed in range(5):
            assert_right(runner(tiles_of(2, seed)), tiles_of(2, seed))
    assert [record.message.count("layer by layer") for record in caplog.records] == [1]
    bench.gpu.require_clean()


def test_a_launch_that_fails_inside_a_capture_ends_the_capture() -> None:
    bench = Bench()
    with bench.runner() as runner:
        runner(tiles_of(1))
        bench.trt.gives["execute_async_v3"] = False
        with pytest.raises(EngineError, match="Cask"):
            runner(tiles_of(1))
        bench.trt.gives.clear()
        assert_right(runner(tiles_of(1)), tiles_of(1))
    bench.gpu.require_clean()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_running_uses_is_in_the_recorded_bindings(version: str) -> None:
    recorded = recorded_names(version)
    for kind, names in USED_TO_RUN.items():
        assert set(names) <= set(recorded[kind]), kind


def test_the_names_that_are_used_are_those_of_the_table() -> None:
    """The fake shows what is asked of it: with the table's names alone, everything still runs."""
    bench = Bench("11.4.0")
    bench.trt.recorded = {kind: set(names) for kind, names in USED_TO_RUN.items()}
    with bench.runner(dla_core=1) as runner:
        assert_right(runner(tiles_of(9)), tiles_of(9))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_fork_the_device_is_left_alone(bench: Bench) -> None:
    """CUDA can't be used there, and what a fork gave back would be gone for the process that still works with it."""
    with bench.runner() as runner:
        assert_right(runner(tiles_of(2)), tiles_of(2))
        begun = runner.map([tiles_of(1), tiles_of(2), tiles_of(3)])
        next(begun)
        calls = len(bench.gpu.log)

        def use() -> str:
            for again in (lambda: next(begun), lambda: runner(tiles_of(1)), lambda: runner.timed(tiles_of(1))):
                with pytest.raises(UsageError, match="the engine was opened in another process"):
                    again()
            runner.close()
            return f"{len(bench.gpu.log) - calls} calls"

        assert in_a_fork(use, leave=os._exit) == "0 calls"
        assert [len(answer) for answer in begun] == [2, 3]
    bench.gpu.require_clean()
