"""Map a whole scene several times, from file to finished map, polygons and picture, and tell where the time goes.

Mpx/s and km2/h (where the size of a pixel on the ground is known), how long the engine is busy, what each phase takes
(read, prepare, infer, blend, write, vectorise), peak memory, and energy where this machine tells it. Phases run side by
side, so that they add up to more than the wall clock shows, and shares are of their sum; `infer` is how long the engine
was called.

With `--engine instant` no model runs, and the table is of the host: by stage, against a plain copy of the scene.

Example: kda-bench scene scene.tif --model student.onnx --repeats 6 --json scene.json --plots plots
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

from kda_edge.errors import EngineError, UsageError
from kda_edge.ground.ground_sampling import ground_sampling_m
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.tile_grid import default_overlap_px

from ..measuring.busy_engine import BusyEngine
from ..measuring.measured_scenes import warm_up_scene
from ..measuring.percentiles import percentiles_of
from ..measuring.stand_in_engines import engine_or_stand_in, is_stand_in
from ..measuring.thread_phases import PHASES, WAIT, PhaseSampler
from ..reporting import plots
from ..reporting.host_table import host_table
from ..reporting.measured_on import engine_parity, model_facts
from ..reporting.result import Figure, Result
from ..reporting.text_tables import add_json_option, number_text, publish, require_json_path, table_of
from ..sensors.conditions import conditions
from ..sensors.energy import energy_figures, find_meters, metering
from ..sensors.peak_memory import peak_rss_mb, reset_peak, rss_mb
from .host import measure_host
from .options import positive_number

REPEATS: Final = 6  # the fewest that bound a median at 95 %
ENGINE_HELP: Final = "as in kda-infer; or no model: instant, or simulated:MS (milliseconds for 4 Mpx of tiles)"


@dataclass(frozen=True)
class Ground:
    """A scene's size.

    Attributes:
        height_px: rows.
        width_px: columns.
        gsd_m: side of a pixel on the ground; None: nobody knows.
        bands: 1-based numbers of the model's bands.
    """

    height_px: int
    width_px: int
    gsd_m: float | None
    bands: tuple[int, int, int]

    @property
    def mpx(self) -> float:
        """Megapixels of the whole raster, nodata included."""
        return self.height_px * self.width_px / 1e6


@dataclass(frozen=True)
class Repeat:
    """One run over the scene.

    Attributes:
        wall_s: from call to finished files.
        busy_s: in which the engine was at work.
        tiles: of the scene, as kda-infer counts them.
        computed_tiles: that the engine was given; tiles without data are not.
        phases_s: by phase, of all threads; `infer` is `busy_s`.
        memory_mb: most resident memory of the process; None where nothing tells it.
    """

    wall_s: float
    busy_s: float
    tiles: int
    computed_tiles: int
    phases_s: dict[str, float]
    memory_mb: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `kda-bench scene`."""
    add = parser.add_argument
    add("scene", type=Path, metavar="scene.tif", help="any scene that kda-infer takes")
    add("--model", type=Path, metavar="M.onnx", help="made by kda-export (default: the bundled student)")
    add("--engine", type=engine_or_stand_in, default="auto", metavar="E", help=ENGINE_HELP)
    add("--allow-unverified", action="store_true", help="take a model whose certificate is missing or does not hold")
    add("--overlap", type=int, metavar="PX", help="least overlap of tiles (default: a quarter of a tile)")
    add("--gsd", type=positive_number, metavar="M", help="side of a pixel on the ground, where the scene does not say")
    add("--repeats", type=int, default=REPEATS, help=f"below {REPEATS} there are no intervals (default: {REPEATS})")
    add("--plots", type=Path, metavar="DIR", help="write scene_phases.png there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Measure; return 0."""
    require_json_path(options.json)
    if options.repeats < 1:
        raise UsageError("--repeats must be 1 or more")
    if options.plots is not None:
        plots.require_matplotlib()
    if is_stand_in(options.engine):  # which refuses --plots
        result, table = measure_host(options), host_table
    else:
        result, table = measure_scene(options), scene_table
    publish(result, table(result), json_to=options.json)
    if options.plots is not None:
        write_phases(result, options.plots)
    return 0


def measure_scene(options: argparse.Namespace) -> Result:
    """Map the scene `--repeats` times into a folder that is thrown away.

    Raises:
        KdaEdgeError: model or scene can't be read.
        EngineError: the engine failed on tiles; times of a map with holes mean nothing.
    """
    artifact = read_artifact(options.model, allow_unverified=options.allow_unverified)
    opened = open_engine(options.model, engine=options.engine, allow_unverified=options.allow_unverified)
    engine = BusyEngine(opened)
    notes = list(opened.notes)
    overlap_px = default_overlap_px(opened.manifest.tile_px) if options.overlap is None else options.overlap
    with (
        Segmenter(engine, opened.manifest, opened.facts, opened.notes, close=opened.close) as segmenter,
        tempfile.TemporaryDirectory(prefix="kda-bench-") as folder,
    ):
        with gdal_session(), open_scene(options.scene, opened.manifest.input) as scene:
            known_m = ground_sampling_m(scene.crs, scene.transform, scene.height_px, scene.width_px)
            gsd_m = known_m if options.gsd is None else options.gsd
            ground = Ground(scene.height_px, scene.width_px, gsd_m, scene.bands)
        warm_up = warm_up_scene(opened.manifest, ground.bands, Path(folder) / "warm_up.tif")
        segmenter.predict_scene(warm_up, folder, SceneOptions(bands=ground.bands))
        loaded_mb, peaks_reset = rss_mb(), reset_peak()
        meters, why_not = find_meters(opened.name)
        before = conditions(opened.name)
        with metering(meters) as spent:
            repeats = []
            for number in range(options.repeats):
                repeats.append(_repeat(segmenter, engine, options, Path(folder)))
                print(
                    f"kda-bench: {number + 1} of {options.repeats}: {repeats[-1].wall_s:.2f} s",
                    file=sys.stderr,
                    flush=True,
                )
    figures = scene_figures(repeats, ground, loaded_mb if peaks_reset else None)
    for energy in spent.energies:
        figures += energy_figures(energy, ground.mpx * 1e6 * options.repeats, ground.gsd_m)
    if ground.gsd_m is None:
        notes.append("the scene does not say how large its pixels are on the ground, so there are no km2/h; give --gsd")
    if len(repeats) < REPEATS:
        notes.append(f"fewer than {REPEATS} repeats have no intervals")
    return Result(
        benchmark="scene",
        settings={
            "scene": options.scene.name,
            "height_px": ground.height_px,
            "width_px": ground.width_px,
            "gsd_m": ground.gsd_m,
            "engine": options.engine,
            "engine_used": opened.name,
            "overlap_px": overlap_px,
            "repeats": options.repeats,
        },
        figures=figures,
        models=[model_facts(artifact)],
        conditions={"before": before, "after": conditions(opened.name), **engine_parity(opened.facts)},
        series={"wall_s": [repeat.wall_s for repeat in repeats], "busy_s": [repeat.busy_s for repeat in repeats]},
        notes=[*notes, *why_not, *spent.notes],
    )


def scene_figures(repeats: list[Repeat], ground: Ground, loaded_mb: float | None) -> list[Figure]:
    """Return what repeats say, medians.

    Args:
        repeats: one or more.
        ground: what they mapped.
        loaded_mb: resident memory with the model loaded and warm, MB; None: nothing tells it.
    """
    wall = percentiles_of([repeat.wall_s for repeat in repeats]).p50
    busy = percentiles_of([repeat.busy_s / repeat.wall_s for repeat in repeats]).p50
    figures = [
        Figure.from_interval("wall.p50", wall, "s", "lower"),
        Figure.from_interval("throughput", wall.inverse(ground.mpx), "Mpx/s", "higher"),
        Figure.from_interval("engine.busy", busy, "", "neither"),
        Figure("tiles", repeats[-1].tiles, "", "neither"),
        Figure("tiles.computed", repeats[-1].computed_tiles, "", "neither"),
    ]
    if ground.gsd_m is not None:
        km2 = ground.mpx * ground.gsd_m**2
        figures.append(Figure.from_interval("throughput.area", wall.inverse(3600 * km2), "km2/h", "higher"))
    for phase in PHASES:
        if phase != WAIT:
            seconds = statistics.median(repeat.phases_s[phase] for repeat in repeats)
            figures.append(Figure(f"phase.{phase}", seconds, "s", "neither"))
    peaks = [repeat.memory_mb for repeat in repeats if repeat.memory_mb is not None]
    if peaks and loaded_mb is not None:
        figures.append(Figure("memory.peak", max(peaks), "MB", "lower"))
        figures.append(Figure("memory.above_engine", max(peaks) - loaded_mb, "MB", "lower"))
    return figures


def scene_table(result: Result) -> str:
    """Return the table for people."""
    all_phases_s = sum(figure.value for figure in result.figures if figure.name.startswith("phase."))
    rows = []
    for figure in result.figures:
        share = f"{figure.value / all_phases_s:.1%}" if figure.name.startswith("phase.") and all_phases_s else ""
        bounds = "" if figure.low is None or figure.high is None else f"{figure.low:.4g} .. {figure.high:.4g}"
        rows.append((figure.name, f"{number_text(figure.value)} {figure.unit}".strip(), bounds, share))
    return table_of(("figure", "median", "95 %", "of all phases"), rows)


def write_phases(result: Result, folder: Path) -> None:
    """Write `scene_phases.png`: the time of each phase beside the wall clock's."""
    bars = {f.name.removeprefix("phase."): f.value for f in result.figures if f.name.startswith("phase.")}
    wall = next(figure for figure in result.figures if figure.name == "wall.p50")
    with plots.drawn(folder / "scene_phases.png", title=plots.heading(result)) as axes:
        axes.barh(list(bars), list(bars.values()), color=plots.COLOURS[0])
        axes.axvline(wall.value, color=plots.COLOURS[5], label=f"wall clock, {wall.value:.3g} s")
        axes.invert_yaxis()
        axes.set_xlabel("seconds of all threads, which run side by side")
        axes.legend()


def _repeat(segmenter: Segmenter, engine: BusyEngine, options: argparse.Namespace, folder: Path) -> Repeat:
    engine.forget()
    reset_peak()
    start = time.perf_counter()
    with PhaseSampler() as sampler:
        options_of_run = SceneOptions(overlap_px=options.overlap, overwrite=True)
        result = segmenter.predict_scene(options.scene, folder, options_of_run)
        wall_s = time.perf_counter() - start
    if result.failed_tiles:
        raise EngineError(
            f"{result.failed_tiles} tiles failed ({result.notes[0]}); times of a map with holes mean nothing"
        )
    phases_s = {phase: float(sampler.seconds[phase]) for phase in PHASES} | {"infer": engine.busy_s}
    return Repeat(wall_s, engine.busy_s, result.tiles, engine.tiles, phases_s, peak_rss_mb())
