"""A machine that throttles and a program that leaks are found, and steady ones are not accused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, count, repeat

import numpy as np
import pytest
from fake_time import EngineThatTakes, FakeClock, small_manifest

from kda_edge.benchmarks.commands.soak import Window, drift_of, figures_of, map_px, series_of, soaked


def soak(
    durations_ms: Iterable[float], *, seconds: float = 20.0, memory: Callable[[], float | None] = lambda: 100.0
) -> list[Window]:
    clock = FakeClock()
    engine = EngineThatTakes(clock, durations_ms)
    windows = list(soaked(engine, small_manifest(), 2, seconds, clock=clock, memory=memory))
    assert engine.tiles == 2 * sum(len(window.times_ms) for window in windows)
    return windows


def test_the_windows_cover_the_time_and_lose_no_call() -> None:
    windows = soak(repeat(10.0))
    assert len(windows) == 20
    assert windows[-1].end_s == pytest.approx(20.0, abs=0.05)
    assert sum(len(window.times_ms) for window in windows) == pytest.approx(2000, abs=5)


def test_each_window_has_a_call_even_where_calls_are_longer_than_windows() -> None:
    windows = soak(repeat(5000.0))
    assert [len(window.times_ms) for window in windows] == [1] * 20


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_machine_is_not_accused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drift = drift_of(soak(10 * (1 + 0.1 * rng.standard_normal(10_000)).clip(0.5)))
    assert not drift.is_throttled
    assert drift.grows_mb_per_h == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_throttles_half_way_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = (1 + 0.1 * rng.standard_normal(20_000)).clip(0.5)
    drift = drift_of(soak(noise * np.where(np.arange(20_000) < 1000, 10.0, 12.0)))
    assert drift.is_throttled
    assert drift.slower_by == pytest.approx(0.2, abs=0.04)


def test_a_machine_of_which_every_window_differs_is_not_said_to_throttle() -> None:
    """Windows of 10 and of 12 ms in turns: the noise explains the difference of the ends."""
    windows = [Window(float(i + 1), (12.0 if i % 2 else 10.0,) * 20, None) for i in range(20)]
    drift = drift_of(windows)
    assert drift.slower_by == pytest.approx(0.2)
    assert not drift.is_throttled


def test_memory_that_grows_is_found_in_the_second_half() -> None:
    """A cache fills in the first half; in the second, 1 MB a second is lost."""
    held = chain(np.linspace(100, 500, 10), (500.0 + i for i in count()))
    drift = drift_of(soak(repeat(10.0), memory=lambda: float(next(held))))
    assert drift.grows_mb_per_h == pytest.approx(3600, rel=0.01)


def test_memory_that_nobody_tells_does_not_grow() -> None:
    drift = drift_of(soak(repeat(10.0), memory=lambda: None))
    assert drift.grows_mb_per_h is None


def test_the_tail_of_the_worst_window_is_told() -> None:
    windows = [Window(float(i + 1), (10.0,) * 99 + (50.0 if i == 7 else 10.0,), 100.0) for i in range(20)]
    figures = {f.name: f.value for f in figures_of(windows, drift_of(windows), "fake", 1)}
    assert figures["latency.max"] == 50.0
    assert figures["soak.worst_window_p99"] == pytest.approx(np.quantile((10.0,) * 99 + (50.0,), 0.99))
    assert figures["soak.throttled"] == 0.0
    assert figures["latency.calls"] == 2000
    assert set(series_of(windows)) == {"window_end_s", "window_p50_ms", "window_p99_ms"}


def test_tiles_overlap_by_a_quarter_as_in_a_scene() -> None:
    assert map_px(10, 256) == 10 * 192**2
