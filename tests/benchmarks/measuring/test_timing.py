"""Calls are timed until they are steady, and a machine that never is does not pass for one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import chain, count, repeat
from pathlib import Path

import numpy as np
import pytest
from fake_time import FakeClock

from kda_edge.benchmarks.measuring.stability import Stability, StabilityRule
from kda_edge.benchmarks.measuring.timing import TimingPlan, measured, timer_overhead_us
from kda_edge.benchmarks.sensors.peak_memory import peak_rss_mb, reset_peak, rss_mb

HELD_MB = 60  # of the 64 MB that PEAKS holds; the rest is room for what the interpreter gives back meanwhile
PEAKS = """
import json
import numpy as np
from kda_edge.benchmarks.sensors.peak_memory import peak_rss_mb, reset_peak, rss_mb
can = reset_peak()
before = rss_mb()
held = np.ones(8_000_000)  # each page written
holding = peak_rss_mb()
del held
given_back = peak_rss_mb()
reset_peak()
print(json.dumps([before if can else None, holding, given_back, peak_rss_mb()]))
"""


def steady(rng: np.random.Generator, calls: int) -> np.ndarray:
    return 10 * (1 + 0.01 * rng.standard_normal(calls))


def drifting(rng: np.random.Generator, calls: int) -> np.ndarray:
    return steady(rng, calls) * np.linspace(1, 1.3, calls)


def stepping(rng: np.random.Generator, calls: int) -> np.ndarray:
    return steady(rng, calls) * np.where(np.arange(calls) < 2 * calls // 3, 1, 1.1)


@pytest.mark.parametrize(("draw", "expected"), [(steady, True), (drifting, False), (stepping, False)])
@pytest.mark.parametrize("calls", [60, 61, 600])
def test_the_rule_accepts_what_is_steady_and_rejects_what_drifts_or_steps(draw, expected: bool, calls: int) -> None:
    rule = StabilityRule()
    for seed in range(20):
        assert rule.judge(draw(np.random.default_rng(seed), calls)).is_steady is expected


def test_a_window_is_a_third_of_the_series_and_the_spread_is_that_of_their_medians() -> None:
    found = StabilityRule(window_calls=2).judge([99.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0])
    assert found == Stability((1.0, 2.0, 3.0), 1.0, 0.03)


def test_a_short_series_is_not_steady() -> None:
    assert not StabilityRule().judge([1.0] * 59).is_steady
    assert StabilityRule().judge([1.0] * 60).is_steady


@pytest.mark.parametrize("fields", [{"windows": 2}, {"tolerance": 0.0}, {"window_calls": 0}])
def test_what_is_no_rule_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not a rule"):
        StabilityRule(**fields)  # type: ignore[arg-type]


def timed_with(durations_ms, plan: TimingPlan | None = None):
    clock, durations = FakeClock(), iter(durations_ms)
    return measured(lambda: clock.pass_ms(next(durations)), plan, clock=clock)


def test_the_first_call_and_a_warm_up_that_becomes_faster_do_not_count() -> None:
    """The first call takes a second, the next 100 calls become faster, then every call takes 10 ms."""
    timing = timed_with(chain([1000.0], np.linspace(30, 10, 100), repeat(10.0)))
    assert timing.first_ms == pytest.approx(1000)
    assert len(timing.warm_up_ms) > 80
    assert timing.samples_ms == pytest.approx(10.0, rel=0.05)
    assert len(timing.samples_ms) == 400
    assert timing.is_steady


def test_no_call_that_counts_is_thrown_away_because_it_was_slow() -> None:
    timing = timed_with(chain(repeat(10.0, 61), repeat(10.0, 50), [500.0], repeat(10.0)))
    assert timing.samples_ms.max() == pytest.approx(500)


def test_a_machine_that_becomes_slower_all_along_ends_at_the_limit_and_is_not_steady() -> None:
    plan = TimingPlan(min_calls=60, warm_up_limit_s=5, limit_s=20)
    timing = timed_with((10 * 1.01**i for i in count()), plan)
    assert not timing.warm_up.is_steady
    assert not timing.stability.is_steady
    assert 20e3 <= timing.samples_ms.sum() < 22e3


def test_a_machine_that_comes_to_rest_late_is_measured_for_longer() -> None:
    """Calls of 10 ms, then of 12 ms for good: the windows agree once most of the series is of the second kind."""
    plan = TimingPlan(min_calls=60)
    timing = timed_with(chain(repeat(10.0, 100), repeat(12.0)), plan)
    assert len(timing.samples_ms) > 60
    assert timing.is_steady


def test_calls_of_many_seconds_are_measured_by_a_few() -> None:
    timing = timed_with(repeat(30e3), TimingPlan(limit_s=60, warm_up_limit_s=20))
    assert len(timing.samples_ms) == 3
    assert not timing.is_steady  # three windows of one call are no evidence


def test_phases_are_kept_for_the_calls_that_count() -> None:
    clock, numbers = FakeClock(), count()

    def call() -> dict[str, float]:
        clock.pass_ms(10)
        return {"first": float(next(numbers)), "second": 2.0}

    timing = measured(call, TimingPlan(min_calls=60), clock=clock)
    before = 1 + len(timing.warm_up_ms)
    assert timing.phases_ms["first"].tolist() == list(range(before, before + len(timing.samples_ms)))
    assert set(timing.phases_ms["second"].tolist()) == {2.0}


def test_the_overhead_of_the_timer_is_one_reading_of_the_clock() -> None:
    assert timer_overhead_us(FakeClock(reading_s=5e-6)) == pytest.approx(5, rel=1e-3)


def test_the_overhead_of_the_real_timer_is_small_against_a_millisecond() -> None:
    assert 0 <= timer_overhead_us(time.perf_counter, readings=2000) < 100


def test_the_peak_of_memory_rises_with_what_is_held_and_starts_anew(tmp_path: Path) -> None:
    """Measured in a process of its own: another test's threads would move the peak of this one."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, cwd=tmp_path)
    before, holding, given_back, anew = json.loads(done.stdout)
    if before is None:
        pytest.skip("this kernel does not let a process start its peak anew")
    assert holding >= before + HELD_MB
    assert given_back >= before + HELD_MB
    assert anew < before + HELD_MB


def test_where_proc_does_not_tell_memory_is_not_known(tmp_path) -> None:
    assert peak_rss_mb(tmp_path) is None
    assert reset_peak(tmp_path / "nothing") is False
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\n")
    assert peak_rss_mb(tmp_path) == pytest.approx(2.048)
    assert rss_mb(tmp_path) == pytest.approx(1.024)
