"""Where the time goes, seen from outside, is where it went."""

from __future__ import annotations

import threading
import time
from types import FrameType

import numpy as np
import pytest
from places import ROOT

from kda_edge.benchmarks.measuring.busy_engine import BusyEngine
from kda_edge.benchmarks.measuring.thread_phases import PARTS, PhaseSampler, phase_of_module


def reading(seconds: float) -> None:
    time.sleep(seconds)


def writing(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        sum(range(1000))


def by_name(frame: FrameType) -> str | None:
    walk: FrameType | None = frame
    while walk is not None:
        if walk.f_code.co_name in ("reading", "writing"):
            return walk.f_code.co_name
        walk = walk.f_back
    return None


def test_each_phase_gets_the_seconds_that_it_took_on_all_threads() -> None:
    with PhaseSampler(by_name) as sampler:
        other = threading.Thread(target=reading, args=(0.6,))
        other.start()
        writing(0.3)
        reading(0.2)
        other.join()
    assert sampler.seconds["reading"] == pytest.approx(0.8, abs=0.15)
    assert sampler.seconds["writing"] == pytest.approx(0.3, abs=0.1)


def test_every_part_that_a_phase_names_is_on_disk() -> None:
    named = [part for parts in PARTS.values() for part in parts]
    assert len(named) == len(set(named))
    for part in named:
        names = part.split(".")
        path = ROOT.joinpath(*(names if names[0] == "runtime" else ["kda_edge", *names]))
        assert path.is_dir() or path.with_suffix(".py").is_file(), part


def test_each_package_of_the_runtime_that_a_scene_passes_through_has_a_phase() -> None:
    around = {"cli", "video", "streams", "bundled", "__pycache__"}
    packages = {path.name for path in (ROOT / "runtime").iterdir() if path.is_dir()} - around
    assert {name for name in packages if phase_of_module(f"kda_edge.runtime.{name}.anything") is None} == set()


def test_the_longest_name_decides() -> None:
    assert phase_of_module("kda_edge.tiling.tile_stream") == "prepare"
    assert phase_of_module("kda_edge.tiling.blend") == "blend"
    assert phase_of_module("kda_edge.tilings") is None
    assert phase_of_module("threading") is None


def test_an_engine_is_busy_while_any_call_is_under_way() -> None:
    now = [0.0]
    engine = BusyEngine(lambda tiles: tiles, clock=lambda: now[0])
    engine.spans_s += [(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.2, 5.4)]
    assert engine.busy_s == pytest.approx(4.0)
    engine.forget()
    assert engine.busy_s == 0.0

    def fails(tiles: np.ndarray) -> np.ndarray:
        now[0] += 2.5
        raise RuntimeError("no")

    failing = BusyEngine(fails, clock=lambda: now[0])
    with pytest.raises(RuntimeError):
        failing(np.zeros((3, 3, 8, 8), np.float32))
    assert failing.busy_s == pytest.approx(2.5)
    assert failing.tiles == 3


def test_a_busy_engine_answers_as_the_engine_inside_it() -> None:
    engine = BusyEngine(lambda tiles: tiles[:, :1] * 2)
    assert engine(np.ones((1, 3, 2, 2), np.float32)).sum() == 8
    assert engine.tiles == 1
