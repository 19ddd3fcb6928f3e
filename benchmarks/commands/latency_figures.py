"""Figures of a latency run, its notes, and the table for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kda_edge.runtime.engines.engine_names import GPU_ENGINES

from ..measuring.percentiles import Interval, percentiles_of
from ..measuring.timing import Timing, timer_overhead_us
from ..reporting.result import Figure, Result
from ..reporting.text_tables import interval_text, number_text, table_of

DEVICE_COLUMNS: Final = {"memory.device": "device MB", "memory.device_of_all": "device MB, all programs"}
MEMORY_NOISE: Final = 0.05  # what allocators and what was loaded before make of the same work; a choice
SERIES_KEPT: Final = 5000  # times of each batch that go into the JSON


@dataclass(frozen=True)
class BatchRun:
    """What was measured of one size of batch.

    Attributes:
        timing: of its calls.
        peak_rss_mb: most resident memory of the process while they ran; None: not told.
        device: as which figure and how much memory is in use on the device after them, MB; None: not told.
    """

    timing: Timing
    peak_rss_mb: float | None
    device: tuple[str, float] | None


def figures_of(
    runs: Mapping[int, BatchRun], tile_px: int, engine: str, *, overhead_us: Callable[[], float] = timer_overhead_us
) -> tuple[list[Figure], dict[str, list[float]], list[str]]:
    """Return figures, series for the plots, and notes."""
    figures = [Figure("timer.overhead", overhead_us(), "us")]
    series: dict[str, list[float]] = {}
    notes = []
    for batch, run in runs.items():
        of: dict[str, str | int] = {"engine": engine, "batch": batch}
        timing, noise = run.timing, run.timing.stability.spread
        found = percentiles_of(timing.samples_ms)
        for name in ("p50", "p90", "p95", "p99", "mean"):
            interval: Interval = getattr(found, name)
            figures.append(Figure.from_interval(f"latency.{name}", interval, "ms", "lower", of, noise=noise))
        figures.append(Figure("latency.max", found.maximum, "ms", "neither", of))
        figures.append(Figure("latency.first", timing.first_ms, "ms", "neither", of))
        figures.append(Figure("latency.calls", float(found.count), "", "neither", of))
        figures.append(Figure("latency.noise", noise, "", "neither", of))
        per_second = found.mean.inverse(batch * 1e3)
        figures.append(Figure.from_interval("throughput.tiles", per_second, "tiles/s", "higher", of, noise=noise))
        mpx_per_s = per_second.scaled(tile_px**2 / 1e6)
        figures.append(Figure.from_interval("throughput.mpx", mpx_per_s, "Mpx/s", "higher", of, noise=noise))
        for phase, times_ms in timing.phases_ms.items():
            p50 = percentiles_of(times_ms).p50
            figures.append(Figure.from_interval(f"phase.{phase}", p50, "ms", "lower", of, noise=noise))
        if run.peak_rss_mb is not None:
            figures.append(Figure("memory.host_peak", run.peak_rss_mb, "MB", "lower", of, noise=MEMORY_NOISE))
        if run.device is not None:
            figures.append(Figure(run.device[0], run.device[1], "MB", "lower", of, noise=MEMORY_NOISE))
        series[f"latency_ms batch {batch}"] = timing.samples_ms[-SERIES_KEPT:].tolist()
        notes += _notes(batch, run)
    if engine in GPU_ENGINES and any(run.device is None for run in runs.values()):
        notes.append("memory on a device: nothing here tells it (no NVIDIA driver, or nvidia-ml-py is not installed)")
    return figures, series, notes


def _notes(batch: int, run: BatchRun) -> list[str]:
    timing, notes = run.timing, []
    if not timing.warm_up.is_steady:
        notes.append(f"batch {batch}: the warm-up did not come to rest within its limit")
    if not timing.stability.medians:
        notes.append(f"batch {batch}: too few calls within the limit to tell whether they are steady; raise --limit")
    elif not timing.stability.is_steady:
        notes.append(
            f"batch {batch}: medians of {len(timing.stability.medians)} windows differ by "
            f"{timing.stability.spread:.1%}, {timing.stability.tolerance:.1%} are allowed"
        )
    if run.peak_rss_mb is None:
        notes.append(f"batch {batch}: the kernel does not tell the peak of the host's memory")
    return notes


def latency_table(result: Result) -> str:
    """Return the table for people: one row a batch."""
    rows = []
    by_key = {figure.key: figure for figure in result.figures}
    batches = sorted({int(figure.of["batch"]) for figure in result.figures if "batch" in figure.of})
    phases = list(dict.fromkeys(f.name for f in result.figures if f.name.startswith("phase.")))
    engine = str(result.settings["engine_used"])
    devices = list(dict.fromkeys(f.name for f in result.figures if f.name.startswith("memory.device")))
    memory_names = ["memory.host_peak", *devices, "latency.calls"]

    def cell(name: str, batch: int, *, bounds: bool = False) -> str:
        figure = by_key.get((name, f"batch={batch}", f"engine={engine}"))
        if figure is None:
            return "not told"
        if bounds:
            return interval_text(Interval(figure.value, figure.low, figure.high))
        return number_text(figure.value)

    for batch in batches:
        of_percentiles = [cell(f"latency.{name}", batch, bounds=True) for name in ("p50", "p90", "p95", "p99")]
        others = [cell(name, batch) for name in ("throughput.tiles", "throughput.mpx", *phases)]
        memory = [cell(name, batch) for name in memory_names]
        noise = f"{by_key['latency.noise', f'batch={batch}', f'engine={engine}'].value:.1%}"
        rows.append((str(batch), *of_percentiles, *others, *memory, noise))
    header = ["batch", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "tiles/s", "Mpx/s"]
    header += [f"{phase.removeprefix('phase.')} ms" for phase in phases]
    header += ["host MB", *(DEVICE_COLUMNS[name] for name in devices), "calls", "noise"]
    model = result.models[0]
    title = f"{model['file']}: {model['variant']}, {model['precision']}, tile {model['tile_px']} px, engine {engine}"
    overhead = by_key[("timer.overhead",)].value
    last = f"In brackets: 95 % bounds. ?: too few calls to have one. The timer itself takes {overhead:.2g} us a call."
    return f"{title}\n\n{table_of(header, rows)}\n\n{last}"
