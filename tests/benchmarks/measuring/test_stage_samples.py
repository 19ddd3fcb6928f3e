"""What each stage takes of the processor, seen from outside, is what it took."""

from __future__ import annotations

import importlib.util
import threading
import time

import pytest

from kda_edge.benchmarks.measuring.stage_samples import (
    STAGES,
    Sample,
    StageSampler,
    stage_of_name,
    summed,
    wall_on_cores,
)


def spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


def test_a_thread_s_processor_time_is_told_while_it_sleeps_and_while_it_works() -> None:
    with StageSampler() as sampler:
        other = threading.Thread(target=spin, args=(0.3,), name="worker_0")
        other.start()
        spin(0.2)
        time.sleep(0.2)
        other.join()
    seconds = summed(sampler.samples, lambda sample: sample.thread, lambda sample: sample.processor_s)
    assert seconds["worker"] == pytest.approx(0.3, abs=0.05)
    assert seconds["MainThread"] == pytest.approx(0.2, abs=0.05)
    assert sampler.processor_s == pytest.approx(0.5, abs=0.1)


def test_every_part_that_a_stage_names_is_there() -> None:
    for part in (f"kda_edge.{part}" for parts in STAGES.values() for part in parts):
        module, _, name = part.rpartition(".")
        around = importlib.import_module(module)
        if hasattr(around, "__path__"):
            assert importlib.util.find_spec(part) is not None, part
        else:
            assert any(hasattr(value, name) for value in vars(around).values()), part


def test_the_longest_name_that_fits_decides_the_stage() -> None:
    assert stage_of_name("kda_edge.runtime.outputs.map_geotiff._complete") == "mask, overviews"
    assert stage_of_name("kda_edge.runtime.outputs.map_geotiff._write_block_row") == "map blocks"
    assert stage_of_name("kda_edge.tiling.tile_answers._checked") == "check answers"
    assert stage_of_name("kda_edge.tiling.blend.add") == "blend"
    assert stage_of_name("kda_edge.tilings.add") is None


def test_more_cores_help_until_one_thread_or_the_engine_decides() -> None:
    sampler = StageSampler()
    sampler.processor_s = 8.0
    sampler.samples = [
        Sample(1.0, "reader", "read", 1.0, 3.0),
        Sample(1.0, "writer", "map blocks", 1.0, 2.0),
        Sample(9.0, "writer", "mask, overviews", 1.0, 2.0),
        Sample(9.0, "MainThread", "picture", 1.0, 1.0),
    ]
    assert wall_on_cores(sampler, 5.0, 0.5, 1) == pytest.approx(8.0)  # all of it, one after the other
    assert wall_on_cores(sampler, 5.0, 0.5, 2) == pytest.approx(5.0)  # the reader's 3, then the writer's 2
    assert wall_on_cores(sampler, 5.0, 0.5, 8) == pytest.approx(5.0)
    assert wall_on_cores(sampler, 5.0, 4.0, 8) == pytest.approx(6.0)  # the engine's 4, then the writer's 2
    sampler.processor_s = 16.0  # half of it was not seen
    assert wall_on_cores(sampler, 5.0, 0.5, 8) == pytest.approx(10.0)
