"""A whole scene around an engine that has no model: what the host takes, stage by stage.

The yardstick is the least that any program does, reading the scene and writing the finished map's three bands in one
thread; it takes turns with the mapping.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from kda_edge.errors import UsageError
from kda_edge.rasters.deflate_blocks import forget_blocks
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.tile_grid import default_overlap_px

from ..measuring.busy_engine import BusyEngine
from ..measuring.measured_scenes import warm_up_scene
from ..measuring.percentiles import percentiles_of
from ..measuring.plain_copy import WRITING, Cost, cost_of_copy
from ..measuring.stage_samples import OTHER, STAGES, StageSampler, summed, wall_on_cores
from ..measuring.stand_in_engines import NO_MODEL, stand_in
from ..reporting.result import Estimate, Figure, Result
from ..sensors.conditions import conditions
from ..sensors.peak_memory import peak_rss_mb, reset_peak, rss_mb

SAMPLED_RUNS: Final = 3  # after those that are timed, which nothing looks at
CORES: Final = 8  # of the machine that is computed


@dataclass(frozen=True)
class HostRun:
    """One mapping of the scene that was sampled.

    Attributes:
        sampler: what its threads did.
        wall_s: from call to finished files.
        engine_s: of the stand-in's calls.
        computed_s: the wall clock on `CORES` cores.
    """

    sampler: StageSampler
    wall_s: float
    engine_s: float
    computed_s: float

    def by_stage(self, *, busy: bool) -> dict[str, float]:
        """Return busy or processor seconds of each stage; `OTHER` is also what ended between two samples."""
        seconds = summed(
            self.sampler.samples,
            lambda sample: sample.stage,
            lambda sample: sample.busy_s if busy else sample.processor_s,
        )
        unseen_s = 0.0 if busy else max(self.sampler.processor_s - sum(seconds.values()), 0.0)
        return {stage: seconds[stage] + (unseen_s if stage == OTHER else 0.0) for stage in (*STAGES, OTHER)}


def measure_host(options: argparse.Namespace) -> Result:
    """Map the scene `--repeats` times around a stand-in for an engine, in turns with the plain copy.

    Raises:
        UsageError: an option that belongs to a model.
        KdaEdgeError: model or scene can't be read.
    """
    if options.plots is not None:
        raise UsageError(f"--plots draws phases around a model, and {options.engine} has none; leave it out")
    manifest = read_artifact(options.model, allow_unverified=options.allow_unverified).manifest
    replaced = stand_in(options.engine, manifest.tile_px)
    engine = BusyEngine(replaced)
    before = conditions(options.engine)
    mapped: list[Cost] = []
    copied: list[Cost] = []
    with (
        Segmenter(engine, manifest, replaced.facts) as segmenter,
        tempfile.TemporaryDirectory(prefix="kda-bench-") as name,
    ):
        folder = Path(name)
        options_of_run = SceneOptions(overlap_px=options.overlap, overwrite=True, any_gsd=True)
        with gdal_session(), open_scene(options.scene, manifest.input, any_gsd=True) as scene:
            bands, height_px, width_px = scene.bands, scene.height_px, scene.width_px
        warm_up = warm_up_scene(manifest, bands, folder / "warm_up.tif")
        segmenter.predict_scene(warm_up, folder, SceneOptions(bands=bands))
        loaded_mb, peaks_reset = rss_mb(), reset_peak()
        for number in range(options.repeats):
            forget_blocks()
            start_s, start_processor_s = time.perf_counter(), time.process_time()
            result = segmenter.predict_scene(options.scene, folder, options_of_run)
            mapped.append(Cost(time.perf_counter() - start_s, time.process_time() - start_processor_s))
            if number == 0:  # before the copy has taken memory that the process keeps
                peak_mb = peak_rss_mb()
            with gdal_session(), open_raster(result.map_path) as finished:
                layers = np.asarray(finished.read())
            copied.append(cost_of_copy(options.scene, bands, layers, folder / "copy.tif"))
            del layers
            print(
                f"kda-bench: {number + 1} of {options.repeats}: {mapped[-1].processor_s:.2f} s of the processor",
                file=sys.stderr,
                flush=True,
            )
        runs = []
        for _ in range(SAMPLED_RUNS):
            engine.forget()
            forget_blocks()
            start_s = time.perf_counter()
            with StageSampler() as sampler:
                segmenter.predict_scene(options.scene, folder, options_of_run)
            wall_s = time.perf_counter() - start_s
            computed_s = wall_on_cores(sampler, engine.spans_s[-1][1], engine.busy_s, CORES)
            runs.append(HostRun(sampler, wall_s, engine.busy_s, computed_s))
    mpx = height_px * width_px / 1e6
    memory_mb = None if peak_mb is None or loaded_mb is None or not peaks_reset else peak_mb - loaded_mb
    return Result(
        benchmark="host",
        settings={
            "scene": options.scene.name,
            "height_px": height_px,
            "width_px": width_px,
            "engine": options.engine,
            "engine_used": replaced.name,
            "tile_px": manifest.tile_px,
            "overlap_px": default_overlap_px(manifest.tile_px) if options.overlap is None else options.overlap,
            "repeats": options.repeats,
            "sampled_runs": SAMPLED_RUNS,
            "plain": f"the scene read with rasterio, the map's bands written as {WRITING}, one thread",
        },
        figures=[*host_figures(mapped, copied, mpx, memory_mb), *stage_figures(runs, mpx)],
        estimates=[_computed(runs, mpx)],
        conditions={"before": before, "after": conditions(options.engine)},
        series={
            "wall_s": [cost.wall_s for cost in mapped],
            "processor_s": [cost.processor_s for cost in mapped],
            "plain_wall_s": [cost.wall_s for cost in copied],
            "plain_processor_s": [cost.processor_s for cost in copied],
        },
        notes=[f"{replaced.name}: the map means nothing, and the figures are of what surrounds an engine"],
    )


def host_figures(mapped: list[Cost], copied: list[Cost], mpx: float, memory_mb: float | None) -> list[Figure]:
    """Return what mapping took beside the plain copy, medians.

    Args:
        mapped: one or more runs.
        copied: as many plain copies.
        mpx: megapixels of the whole raster, nodata included.
        memory_mb: peak memory above the loaded process, MB; None: nothing tells it.
    """
    wall, processor = (percentiles_of([cost[at] for cost in mapped]).p50 for at in (0, 1))
    plain_wall, plain_processor = (percentiles_of([cost[at] for cost in copied]).p50 for at in (0, 1))
    figures = [
        Figure.from_interval("wall.p50", wall, "s", "lower"),
        Figure.from_interval("processor.p50", processor, "s", "lower"),
        Figure.from_interval("throughput", wall.inverse(mpx), "Mpx/s", "higher"),
        Figure.from_interval("plain.wall", plain_wall, "s"),
        Figure.from_interval("plain.processor", plain_processor, "s"),
        Figure("ratio.wall", wall.value / plain_wall.value, "", "lower"),
        Figure("ratio.processor", processor.value / plain_processor.value, "", "lower"),
    ]
    return figures + ([] if memory_mb is None else [Figure("memory.above_engine", memory_mb, "MB", "lower")])


def stage_figures(runs: list[HostRun], mpx: float) -> list[Figure]:
    """Return what each stage took, medians over the runs, and how long the wall clock ran over the longest of all."""
    figures = []
    for stage in (*STAGES, OTHER):
        busy_s, processor_s = (
            statistics.median(run.by_stage(busy=busy)[stage] for run in runs) for busy in (True, False)
        )
        if max(busy_s, processor_s) > 0:
            of = {"stage": stage}
            figures.append(Figure("stage.busy", busy_s, "s", "neither", of))
            figures.append(Figure("stage.processor", processor_s, "s", "neither", of))
            figures.append(Figure("stage.per_mpx", processor_s * 1e3 / mpx, "ms/Mpx", "neither", of))
    longest_s = [max(run.engine_s, *run.by_stage(busy=True).values()) for run in runs]
    figures += [
        Figure("engine.busy", statistics.median(run.engine_s for run in runs), "s"),
        Figure("longest.stage", statistics.median(longest_s), "s"),
        Figure("ratio.longest", statistics.median(run.wall_s / s for run, s in zip(runs, longest_s, strict=True)), ""),
    ]
    return figures


def _computed(runs: list[HostRun], mpx: float) -> Estimate:
    seconds = statistics.median(run.computed_s for run in runs)
    return Estimate(
        "computed.throughput",
        mpx / seconds,
        "Mpx/s",
        f"a computation: before the engine's last answer and after it, the longest of its calls, of one thread's "
        f"processor time and of all threads' over {CORES}, as measured here with {NO_MODEL}; memory and disk left out",
        {"cores": CORES},
    )
