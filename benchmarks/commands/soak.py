"""Load a machine for minutes: does it throttle, does memory grow, what becomes of the slowest calls; energy on the way.

The run is cut into windows. Throttling is a median at the end above that of the beginning by more than windows differ
anyway; growth is memory in the second half, in MB an hour.

Example: kda-bench soak student.onnx --minutes 10 --gsd 0.1 --json soak.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.tiling.tile_answers import Engine
from kda_edge.tiling.tile_grid import default_overlap_px

from ..measuring.percentiles import percentiles_of
from ..measuring.timed_work import call_of, example_images
from ..measuring.timing import Clock
from ..reporting import plots
from ..reporting.measured_on import engine_parity, model_facts
from ..reporting.result import Figure, Result
from ..reporting.text_tables import add_json_option, number_text, publish, require_json_path, table_of
from ..sensors.conditions import conditions
from ..sensors.energy import Energy, energy_figures, find_meters, metering
from ..sensors.peak_memory import rss_mb
from .latency_figures import MEMORY_NOISE
from .options import add_engine_options, positive_number

WINDOWS: Final = 20
EDGE: Final = 3  # windows at the beginning and at the end that are compared
FEWEST_WINDOWS: Final = 2 * EDGE
THROTTLED: Final = 0.05  # the end is slower by this share, beyond noise: a choice; clocks step by 5 to 10 %


@dataclass(frozen=True)
class Window:
    """A stretch of the run.

    Attributes:
        end_s: since the start.
        times_ms: of its calls.
        rss_mb: resident memory at its end; None: not told.
    """

    end_s: float
    times_ms: tuple[float, ...]
    rss_mb: float | None


@dataclass(frozen=True)
class Drift:
    """What time did to the run.

    Attributes:
        slower_by: median of the last windows over that of the first, less 1.
        noise: share by which neighbouring windows differ, in the middle of all.
        grows_mb_per_h: resident memory in the second half of the run, by a straight line; None: not told.
    """

    slower_by: float
    noise: float
    grows_mb_per_h: float | None

    @property
    def is_throttled(self) -> bool:
        """Whether the end is slower than the beginning, beyond noise."""
        return self.slower_by > max(THROTTLED, 2 * self.noise)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `kda-bench soak` takes."""
    add_engine_options(parser)
    add = parser.add_argument
    add("--minutes", type=positive_number, default=10.0, metavar="MIN", help="default: 10")
    add("--batch", type=int, default=1, metavar="N", help="tiles a call (default: 1)")
    add("--gsd", type=positive_number, metavar="M", help="side of a pixel on the ground: gives J/km2 and km2/Wh")
    add("--plots", type=Path, metavar="DIR", help="write soak.png there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, print and write what was asked for."""
    require_json_path(options.json)
    if options.batch < 1:
        raise UsageError("--batch takes a number of tiles, 1 or more")
    if options.plots is not None:
        plots.require_matplotlib()
    artifact = read_artifact(options.model, allow_unverified=options.allow_unverified)
    with open_engine(options.model, engine=options.engine, allow_unverified=options.allow_unverified) as engine:
        before = conditions(engine.name)
        meters, notes = find_meters(engine.name)
        with metering(meters) as spent:
            windows = list(soaked(engine, engine.manifest, options.batch, options.minutes * 60))
        after = conditions(engine.name)
        drift = drift_of(windows)
        tile_px = engine.manifest.tile_px
        figures = figures_of(windows, drift, engine.name, options.batch)
        calls = sum(len(window.times_ms) for window in windows)
        for energy in spent.energies:
            figures += energy_figures(energy, map_px(calls * options.batch, tile_px), options.gsd)
        notes = [*engine.notes, *notes, *spent.notes, *_notes(drift, spent.energies, options.gsd)]
        result = Result(
            benchmark="soak",
            settings={
                "engine": options.engine,
                "engine_used": engine.name,
                "minutes": options.minutes,
                "batch": options.batch,
                "gsd_m": options.gsd,
            },
            figures=figures,
            models=[model_facts(artifact)],
            conditions={"before": before, "after": after, **engine_parity(engine.facts)},
            series=series_of(windows),
            notes=notes,
            steady=not drift.is_throttled,
        )
    if options.plots is not None:
        plots.write_soak(result, options.plots)
    publish(result, soak_table(result), json_to=options.json)
    return 0


def soaked(
    engine: Engine,
    manifest: Manifest,
    batch: int,
    seconds: float,
    *,
    windows: int = WINDOWS,
    clock: Clock = time.perf_counter,
    memory: Callable[[], float | None] = rss_mb,
) -> Iterator[Window]:
    """Call without a pause and yield the windows; each has one call at least.

    Args:
        engine: to load.
        manifest: of its model.
        batch: tiles a call.
        seconds: in all.
        windows: that count, `FEWEST_WINDOWS` or more.
        clock: in seconds.
        memory: resident, MB.
    """
    work = call_of(engine, example_images(manifest, batch), manifest.tile_px, clock=clock)
    start = clock()
    for index in range(windows):
        times_ms: list[float] = []
        until = start + seconds * (index + 1) / windows
        while not times_ms or clock() < until:
            begun = clock()
            work()
            times_ms.append((clock() - begun) * 1e3)
        yield Window(clock() - start, tuple(times_ms), memory())


def drift_of(windows: list[Window]) -> Drift:
    """Return what changed between the first windows and the last."""
    medians = np.asarray([np.median(window.times_ms) for window in windows])
    slower_by = float(np.median(medians[-EDGE:]) / np.median(medians[:EDGE])) - 1
    noise = float(np.median(np.abs(np.diff(medians))) / np.median(medians))
    half = windows[len(windows) // 2 :]
    told = [(window.end_s, window.rss_mb) for window in half if window.rss_mb is not None]
    grows = None
    if len(told) == len(half) > 1:
        hours, memory_mb = np.asarray(told).T
        grows = float(np.polyfit(hours / 3600, memory_mb, 1)[0])
    return Drift(slower_by, noise, grows)


def map_px(tiles: int, tile_px: int) -> float:
    """Return the pixels of map that so many tiles make in the middle of a scene, where they overlap as by default."""
    return float(tiles * (tile_px - default_overlap_px(tile_px)) ** 2)


def figures_of(windows: list[Window], drift: Drift, engine: str, batch: int) -> list[Figure]:
    """Return the figures of a run."""
    of: dict[str, str | int] = {"engine": engine, "batch": batch}
    times_ms = np.concatenate([window.times_ms for window in windows])
    found = percentiles_of(times_ms)
    figures = [
        Figure.from_interval(f"latency.{name}", getattr(found, name), "ms", "lower", of, noise=drift.noise)
        for name in ("p50", "p90", "p95", "p99")
    ]
    figures += [
        Figure("latency.max", found.maximum, "ms", "neither", of),
        Figure("latency.calls", float(found.count), "", "neither", of),
        Figure("soak.slower_by", drift.slower_by, "", "neither", of),
        Figure("soak.throttled", float(drift.is_throttled), "", "neither", of),
        Figure("soak.worst_window_p99", max(series_of(windows)["window_p99_ms"]), "ms", "neither", of),
    ]
    if drift.grows_mb_per_h is not None:
        figures.append(Figure("memory.growth", drift.grows_mb_per_h, "MB/h", "neither", of))
    peak = max((window.rss_mb for window in windows if window.rss_mb is not None), default=None)
    if peak is not None:
        figures.append(Figure("memory.host_peak", peak, "MB", "lower", of, noise=MEMORY_NOISE))
    return figures


def series_of(windows: list[Window]) -> dict[str, list[float]]:
    """Return what the plot needs."""
    return {
        "window_end_s": [window.end_s for window in windows],
        "window_p50_ms": [float(np.median(window.times_ms)) for window in windows],
        "window_p99_ms": [float(np.quantile(window.times_ms, 0.99)) for window in windows],
    }


def soak_table(result: Result) -> str:
    """Return the table for people."""
    rows: list[tuple[Any, ...]] = []
    for figure in result.figures:
        value = f"{figure.value:+.1%}" if figure.name == "soak.slower_by" else number_text(figure.value)
        value = ("yes" if figure.value else "no") if figure.name == "soak.throttled" else value
        meter = f" ({figure.of['meter']})" if "meter" in figure.of else ""
        rows.append((figure.name + meter, value, figure.unit))
    return table_of(("soak", "measured", "unit"), rows)


def _notes(drift: Drift, energies: list[Energy], gsd_m: float | None) -> list[str]:
    notes = []
    if drift.is_throttled:
        notes.append(f"the end is {drift.slower_by:.0%} slower than the beginning: heat, power or other programs")
    if energies and gsd_m is None:
        notes.append("J/km2 and km2/Wh need the side of a pixel on the ground: give --gsd")
    if energies:
        notes.append("idle power is in the energy; a pixel of map counts once, tiles overlap by a quarter")
    return notes
