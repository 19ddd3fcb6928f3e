"""`kda-bench check` fails on what became worse, passes what noise explains, and never passes for lack of sight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_time import EngineThatTakes, FakeClock, small_manifest

from kda_edge.benchmarks.cli import main
from kda_edge.benchmarks.commands.check import verdict_of
from kda_edge.benchmarks.commands.latency import LatencyConfig, measure_batches
from kda_edge.benchmarks.commands.latency_figures import figures_of
from kda_edge.benchmarks.reporting.result import Figure, Result, write_result

MACHINE = {"processor": "A", "cores": "8", "system": "Linux", "python": "3.11", "gpu": "none"}


def result(figures: Sequence[Figure], **fields: Any) -> Result:
    defaults = {"settings": {}, "machine": MACHINE, "versions": {}}
    return Result("latency", figures=figures, **(defaults | fields))


def latency(value: float, *, half_width: float | None = 0.1, noise: float | None = 0.01, **fields: Any) -> Figure:
    low, high = (None, None) if half_width is None else (value - half_width, value + half_width)
    return Figure("latency.p50", value, "ms", "lower", {"batch": 1}, low, high, noise, **fields)


def check(tmp_path: Path, new: Result, old: Result, *options: str) -> int:
    write_result(new, tmp_path / "new.json")
    write_result(old, tmp_path / "old.json")
    return main(["check", str(tmp_path / "new.json"), str(tmp_path / "old.json"), *options])


def test_a_regression_fails_with_one_line_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, result([latency(11.0)]), result([latency(10.0)])) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["FAIL: latency.p50 batch=1: 10 -> 11 ms (worse by 10.0%, noise 2.0%)", "1 of 1 figures fail"]


@pytest.mark.parametrize("value", [10.0, 10.25, 9.8, 5.0])
def test_what_is_within_noise_or_better_passes(tmp_path: Path, value: float) -> None:
    assert check(tmp_path, result([latency(value)]), result([latency(10.0)])) == 0


def test_an_improvement_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, result([latency(5.0)]), result([latency(10.0)])) == 0
    assert capsys.readouterr().out.startswith("better: latency.p50 batch=1: 10 -> 5 ms (better by 50.0%")


def test_throughput_is_worse_when_it_falls() -> None:
    def mpx(value: float) -> Figure:
        return Figure("throughput.mpx", value, "Mpx/s", "higher", {}, value - 0.1, value + 0.1, 0.0)

    assert verdict_of(result([mpx(8.0)]), result([mpx(10.0)])).failures
    assert not verdict_of(result([mpx(12.0)]), result([mpx(10.0)])).failures


def phased(phase_ms: float, batch: int = 1) -> Result:
    part = Figure("phase.prepare", phase_ms, "ms", "lower", {"batch": batch}, phase_ms, phase_ms, 0.0)
    return result([latency(10.0), part])


def test_a_phase_is_worse_only_where_the_whole_call_would_be_felt_to_be() -> None:
    """0.003 ms of 10 are nobody's loss, though the phase takes half as long again."""
    assert not verdict_of(phased(0.009), phased(0.006)).failures
    assert not verdict_of(phased(1.25), phased(1.0)).failures  # 25 % of the phase, 2.5 % of the call
    (line,) = verdict_of(phased(1.4), phased(1.0)).failures
    assert line.startswith("phase.prepare batch=1: 1 -> 1.4 ms (worse by 40.0%")
    assert not verdict_of(phased(1.4), phased(1.0), least=0.05).failures


def test_a_phase_of_a_call_that_was_not_measured_is_judged_by_itself() -> None:
    assert verdict_of(phased(0.009, batch=2), phased(0.006, batch=2)).failures


def test_bounds_that_overlap_do_not_fail() -> None:
    assert not verdict_of(result([latency(11.0, half_width=0.8)]), result([latency(10.0, half_width=0.8)])).failures


def test_a_change_below_the_noise_of_both_runs_does_not_fail() -> None:
    new, old = result([latency(11.0, noise=0.06)]), result([latency(10.0, noise=0.06)])
    assert not verdict_of(new, old).failures
    assert verdict_of(result([latency(11.0, noise=0.03)]), result([latency(10.0, noise=0.03)])).failures


def test_a_run_so_noisy_that_it_could_hide_anything_does_not_pass() -> None:
    new, old = result([latency(10.0, noise=0.2)]), result([latency(10.0, noise=0.1)])
    (line,) = verdict_of(new, old).failures
    assert "noise of 30% could hide any change" in line


def test_a_figure_that_has_gone_fails(tmp_path: Path) -> None:
    assert check(tmp_path, result([]), result([latency(10.0)])) == 1


def test_a_figure_without_a_better_direction_is_not_held_against_anybody() -> None:
    first, calls = Figure("latency.first", 1.0, "ms"), Figure("latency.first", 99.0, "ms")
    assert verdict_of(result([calls]), result([first])).compared == 0


def test_a_figure_whose_bounds_nobody_knows_is_told_as_not_judged() -> None:
    def p99(value: float) -> Figure:
        return Figure("latency.p99", value, "ms", "lower", {}, value - 0.1, None, 0.0)

    verdict = verdict_of(result([p99(20.0)]), result([p99(10.0)]))
    assert not verdict.failures
    assert "too few calls" in verdict.unjudged[0]


def test_figures_that_never_have_bounds_are_compared_as_they_are() -> None:
    def memory(value: float) -> Figure:
        return Figure("memory.host_peak", value, "MB", "lower", {}, noise=0.05)

    assert verdict_of(result([memory(150.0)]), result([memory(100.0)])).failures
    assert not verdict_of(result([memory(108.0)]), result([memory(100.0)])).failures


def test_a_result_that_is_not_steady_and_settings_that_differ_are_told() -> None:
    new, old = result([], steady=False, settings={"batch": 2}), result([], settings={"batch": 1})
    assert [line.split(";")[0] for line in verdict_of(new, old).unjudged] == [
        "the new result calls itself not steady",
        "the settings differ in batch: 1 -> 2",
    ]


def test_zero_that_becomes_something_is_a_change() -> None:
    zero, some = latency(0.0, half_width=None, noise=0.0), latency(1.0, half_width=None, noise=0.0)
    assert verdict_of(result([some]), result([zero])).failures
    assert not verdict_of(result([zero]), result([zero])).failures
    assert not verdict_of(result([zero]), result([some])).failures


def test_results_of_other_machines_or_benchmarks_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = result([latency(10.0)])
    other = result([latency(10.0)], machine=MACHINE | {"processor": "B"})
    assert check(tmp_path, other, old) == 2
    assert "different machines (processor: B, before A)" in capsys.readouterr().err
    assert check(tmp_path, other, old, "--other-machine") == 0
    assert check(tmp_path, Result("soak", {}, [], machine=MACHINE), old) == 2


def measured_by_latency(rng: np.random.Generator, slowness: float = 1.0) -> Result:
    """All figures of a latency run on an engine whose neighbouring calls are alike, 2 in 100 of them far slower."""
    noise = rng.standard_normal(900)
    alike = [float(noise[0])]
    for value in noise[1:]:
        alike.append(0.5 * alike[-1] + 0.866 * float(value))
    durations = 10 * slowness * (1 + 0.03 * np.asarray(alike)) * np.where(rng.random(900) < 0.02, 2.0, 1.0)
    clock = FakeClock(reading_s=1e-5)
    engine = EngineThatTakes(clock, durations)
    runs = measure_batches(engine, small_manifest(), LatencyConfig(), clock=clock)
    figures, _, _ = figures_of(runs, 32, "fake", overhead_us=lambda: 0.0)
    return result([figure for figure in figures if not figure.name.startswith("memory")])


def test_the_gate_hardly_ever_fails_two_runs_of_the_same_and_nearly_always_a_slower_one() -> None:
    rng = np.random.default_rng(4)
    same = [verdict_of(measured_by_latency(rng), measured_by_latency(rng)) for _ in range(10)]
    slower = [verdict_of(measured_by_latency(rng, 1.06), measured_by_latency(rng)) for _ in range(5)]
    assert all(verdict.compared >= 9 for verdict in same)
    assert [verdict.failures for verdict in same] == [()] * 10
    assert all(any(line.startswith("latency.p50") for line in verdict.failures) for verdict in slower)
