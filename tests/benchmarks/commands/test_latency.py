"""A fake engine of known latency comes out of `kda-bench latency` with its percentiles, phases and throughput."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest
from fake_time import EngineThatTakes, EngineThatTellsPhases, FakeClock, small_manifest

from kda_edge.benchmarks.commands.latency import LatencyConfig, measure_batches, require_tile, split_notes
from kda_edge.benchmarks.commands.latency_figures import BatchRun, figures_of, latency_table
from kda_edge.benchmarks.measuring.timed_work import example_images, prepared
from kda_edge.benchmarks.measuring.timing import TimingPlan
from kda_edge.benchmarks.reporting.measured_on import model_facts
from kda_edge.benchmarks.reporting.result import Figure, Result
from kda_edge.errors import UsageError
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.tiling.pixels import ArraySource
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_grid import TileGrid

READING_MS = 0.25


def measured_figures(durations_ms, *, batches: tuple[int, ...] = (1,), shares=None, calls: int = 1000):
    clock = FakeClock(reading_s=READING_MS / 1e3)
    engine = EngineThatTakes(clock, durations_ms)
    timed = None if shares is None else EngineThatTellsPhases(clock, durations_ms, shares).timed
    plan = TimingPlan(min_calls=calls, warm_up_limit_s=1e6, limit_s=1e6)
    config = LatencyConfig(batches=batches, plan=plan)
    runs = measure_batches(engine, small_manifest(), config, timed=timed, clock=clock)
    figures, series, notes = figures_of(runs, 32, "fake", overhead_us=lambda: 1.5)
    return {figure.key: figure for figure in figures}, series, notes, runs


def of(figures: dict[tuple[str, ...], Figure], name: str, batch: int = 1) -> Figure:
    return figures[name, f"batch={batch}", "engine=fake"]


def test_the_percentiles_of_a_known_distribution_come_out() -> None:
    """1 of 100 calls takes 50 ms, 8 of 100 take 20 ms, the others 10 ms, in random order."""
    rng = np.random.default_rng(5)
    hundred = np.repeat([10.0, 20.0, 50.0], [91, 8, 1])
    durations = np.concatenate([rng.permutation(hundred) for _ in range(40)])
    figures, series, _, _ = measured_figures(durations)
    # The work itself reads the clock three times, and the timer once more before it takes the difference.
    added = 4 * READING_MS
    assert of(figures, "latency.p50").value == pytest.approx(10 + added)
    assert of(figures, "latency.p90").value == pytest.approx(10 + added)
    assert of(figures, "latency.p95").value == pytest.approx(20 + added)
    assert of(figures, "latency.max").value == pytest.approx(50 + added)
    assert of(figures, "latency.mean").value == pytest.approx(9.1 + 1.6 + 0.5 + added, rel=0.02)
    assert of(figures, "latency.calls").value == 1000
    assert len(series["latency_ms batch 1"]) == 1000
    assert figures[("timer.overhead",)].value == 1.5


def test_the_bounds_of_the_median_hold_the_truth_of_a_skewed_distribution() -> None:
    rng = np.random.default_rng(9)
    figures, *_ = measured_figures((10 + rng.exponential(2.0, 10_000)).tolist())
    truth = 10 + 2 * np.log(2) + 4 * READING_MS
    p50 = of(figures, "latency.p50")
    assert p50.low is not None
    assert p50.high is not None
    assert p50.low <= truth <= p50.high
    assert p50.high - p50.low < 0.6


def test_the_phases_of_an_engine_that_does_not_tell_are_preparing_and_the_call() -> None:
    figures, *_ = measured_figures(repeat(8.0))
    assert of(figures, "phase.prepare").value == pytest.approx(READING_MS)
    assert of(figures, "phase.engine").value == pytest.approx(8.0 + READING_MS)
    assert not any(key[0] in ("phase.copy_in", "phase.compute") for key in figures)


def test_the_phases_of_an_engine_that_tells_are_its_own() -> None:
    figures, *_ = measured_figures(repeat(8.0), shares={"copy_in": 0.25, "compute": 0.625, "copy_out": 0.125})
    told = {key[0]: figure.value for key, figure in figures.items() if key[0].startswith("phase.")}
    expected = {"prepare": READING_MS, "copy_in": 2.0, "compute": 5.0, "copy_out": 1.0}
    assert told == {f"phase.{name}": pytest.approx(value) for name, value in expected.items()}


def test_throughput_counts_the_tiles_of_a_batch() -> None:
    figures, *_ = measured_figures(repeat(39.0), batches=(1, 4))
    for batch in (1, 4):
        per_second = batch / (39.0 + 4 * READING_MS) * 1e3
        assert of(figures, "throughput.tiles", batch).value == pytest.approx(per_second)
        assert of(figures, "throughput.mpx", batch).value == pytest.approx(per_second * 32 * 32 / 1e6)


def test_a_drifting_engine_is_noted_with_its_noise() -> None:
    clock = FakeClock()
    engine = EngineThatTakes(clock, (10 * 1.002**i for i in range(10**6)))
    plan = TimingPlan(min_calls=60, warm_up_limit_s=3, limit_s=10)
    runs = measure_batches(engine, small_manifest(), LatencyConfig(plan=plan), clock=clock)
    figures, _, notes = figures_of(runs, 32, "fake", overhead_us=lambda: 0.0)
    noise = next(f.value for f in figures if f.name == "latency.noise")
    assert noise > 0.03
    assert any(f"{noise:.1%}" in note for note in notes)
    assert all(f.noise == noise for f in figures if f.name.startswith(("latency.p", "throughput", "phase")))


def test_memory_that_nobody_tells_is_said_and_no_figure() -> None:
    _, _, _, runs = measured_figures(repeat(8.0))
    figures, _, notes = figures_of({1: BatchRun(runs[1].timing, None, None)}, 32, "cuda", overhead_us=lambda: 0.0)
    assert not any(f.name.startswith("memory") for f in figures)
    assert any("memory on a device" in note for note in notes)
    assert any("peak of the host's memory" in note for note in notes)
    *_, on_cpu = figures_of({1: BatchRun(runs[1].timing, 100.0, None)}, 32, "cpu", overhead_us=lambda: 0.0)
    assert not any("memory" in note for note in on_cpu)


@pytest.mark.parametrize("name", ["memory.device", "memory.device_of_all"])
def test_memory_on_a_device_is_told_as_whose_it_is(name: str) -> None:
    _, _, _, runs = measured_figures(repeat(8.0))
    run = {1: BatchRun(runs[1].timing, 100.0, (name, 512.0))}
    figures, series, notes = figures_of(run, 32, "cuda", overhead_us=lambda: 0.0)
    facts = model_facts(read_artifact())
    result = Result(
        "latency", {"engine_used": "cuda"}, figures, [facts], series=series, notes=notes, machine={}, versions={}
    )
    header = latency_table(result).splitlines()[2]
    assert ("device MB, all programs" in header) == (name == "memory.device_of_all")
    assert "device MB" in header


def test_images_are_prepared_as_those_of_a_scene_are() -> None:
    (image,) = example_images(small_manifest(64), 1, seed=3)
    seen = []

    def engine(tiles):
        seen.append(tiles.copy())
        return np.zeros((len(tiles), 1, 64, 64), np.float32)

    list(predict(ArraySource(image), TileGrid(64, 64, 64, 16), engine))
    assert np.array_equal(prepared([image], 64), seen[0])


def test_batches_beyond_what_an_engine_computes_at_once_are_noted() -> None:
    assert split_notes(None, (1, 64)) == []
    assert split_notes(4, (1, 4)) == []
    assert "batches of 8, 16 bring nothing" in split_notes(4, (4, 8, 16))[0]


def test_a_tile_that_the_model_does_not_have_is_refused_with_what_to_do() -> None:
    require_tile(None, small_manifest())
    require_tile(32, small_manifest())
    with pytest.raises(UsageError, match=r"tile is 32 px and fixed in the file, not 64 px; .*kda-export --tile 64"):
        require_tile(64, small_manifest())


@pytest.mark.parametrize("fields", [{"batches": ()}, {"batches": (0,)}, {"batches": (2, 2)}, {"engine": "gpu"}])
def test_what_is_no_setting_is_refused(fields) -> None:
    with pytest.raises(UsageError):
        LatencyConfig(**fields)
