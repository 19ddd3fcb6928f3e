"""Try precisions, engines, tiles and batches, and name the one setting to use on this device.

    kda-bench sweep a.onnx b.onnx --engines cpu,openvino --batches 1,2,4 --plots plots
    kda-bench sweep --ckpt student.pt --tiles 128,256 --precisions fp32,int8 --calib scene.tif --eval labelled

The second form exports each artifact with `kda-export`, its gates included: what a gate refuses is named with the
gate's words and not measured. Accuracy is the landslide IoU on the labelled images of `--eval`, in the artifact's
certificate; without it, time and memory alone decide. Each artifact on each engine is measured in a process of its own,
as `kda-bench latency` does. A megapixel is one of map: overlaps of a quarter of a tile are counted once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import EngineError, UsageError
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.engine_names import ENGINES

from ..reporting import plots
from ..reporting.measured_on import model_facts
from ..reporting.result import Figure, Result
from ..reporting.text_tables import add_json_option, number_text, publish, require_json_path, table_of
from .options import positive_number, positive_numbers
from .pareto import MOST_IOU_LOSS_POINTS, Setting, recommended, unbeaten
from .sweep_runs import Export, exported, measured_settings

PRECISIONS: Final = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Refusal:
    """Something that could not be measured.

    Attributes:
        what: an export, or an artifact on an engine.
        why: one line.
    """

    what: str
    why: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `kda-bench sweep`."""
    add = parser.add_argument
    add("artifacts", nargs="*", type=Path, metavar="M.onnx", help="made by kda-export; none: give --ckpt")
    add("--engines", type=_words(ENGINES), default=("auto",), metavar="NAMES", help=f"some of {', '.join(ENGINES)}")
    add("--batches", type=positive_numbers, default=(1, 2, 4), metavar="N,N", help="tiles a call (default: 1,2,4)")
    add("--min-calls", type=int, default=60, metavar="N", help="fewest calls that count of each (default: 60)")
    add("--limit", type=positive_number, default=20.0, metavar="S", help="seconds a setting, at most (default: 20)")
    add("--max-iou-loss", type=float, default=MOST_IOU_LOSS_POINTS, metavar="POINTS", help="below the best IoU")
    add("--allow-unverified", action="store_true", help="take artifacts whose certificate is missing or does not hold")
    add("--plots", type=Path, metavar="DIR", help="write sweep.png there")
    export = parser.add_argument_group("export", "from a checkpoint, in place of artifacts")
    export.add_argument("--ckpt", type=Path, metavar="PT")
    export.add_argument("--tiles", type=positive_numbers, metavar="PX,PX", help="default: as trained")
    export.add_argument("--precisions", type=_words(PRECISIONS), default=("fp32",), metavar="NAMES")
    export.add_argument("--calib", type=Path, metavar="PATH", help="what INT8 is calibrated on")
    export.add_argument("--eval", type=Path, metavar="DIR", help="labelled images: images/ and masks/")
    export.add_argument("--out", type=Path, metavar="DIR", help="keep the artifacts there")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Export what is to export, measure, recommend; return 0."""
    require_json_path(options.json)
    if options.plots is not None:
        plots.require_matplotlib()
    if bool(options.artifacts) == (options.ckpt is not None):
        raise UsageError("give artifacts, or a checkpoint with --ckpt, and not both")
    if "int8" in options.precisions and options.ckpt is not None and options.calib is None:
        raise UsageError("int8 is calibrated on imagery; give it with --calib")
    with tempfile.TemporaryDirectory(prefix="kda-bench-") as folder:
        result, settings = sweep(options, Path(folder))
    publish(result, sweep_table(settings), json_to=options.json)
    if options.plots is not None:
        write_sweep(settings, result, options.plots)
    return 0


def sweep(options: argparse.Namespace, folder: Path) -> tuple[Result, list[Setting]]:
    """Measure every artifact on every engine with every batch.

    Raises:
        EngineError: nothing could be measured.
        KdaEdgeError: an artifact can't be read.
    """
    artifacts, refusals = list(options.artifacts), list[Refusal]()
    if options.ckpt is not None:
        for export in _exports(options, options.out or folder):
            _say(f"exporting {export.name}")
            made = exported(export)
            if isinstance(made, str):
                refusals.append(Refusal(export.name, made))
            else:
                artifacts.append(made)
    settings: list[Setting] = []
    for artifact in artifacts:
        for engine in options.engines:
            _say(f"measuring {artifact.name} with {engine}")
            found = measured_settings(artifact, engine, options, folder)
            if isinstance(found, str):
                refusals.append(Refusal(f"{artifact.name} with {engine}", found))
            else:
                settings += [one for one in found if one not in settings]
    if not settings:
        raise EngineError("; ".join(f"{refusal.what}: {refusal.why}" for refusal in refusals) or "nothing to measure")
    models = [model_facts(read_artifact(path, allow_unverified=options.allow_unverified)) for path in artifacts]
    return sweep_result(settings, refusals, models, options), settings


def sweep_result(
    settings: Sequence[Setting],
    refusals: Sequence[Refusal],
    models: Sequence[dict[str, Any]],
    options: argparse.Namespace,
) -> Result:
    """Return the result, the recommendation as its first note."""
    best = recommended(settings, most_iou_loss_points=options.max_iou_loss)
    front = unbeaten(settings)
    figures = []
    for one in settings:
        of: dict[str, str | int] = {"artifact": one.artifact, "engine": one.engine, "batch": one.batch}
        figures.append(Figure("time_per_map", one.ms_per_mpx, "ms/Mpx", "lower", of))
        figures.append(Figure("latency.p50", one.p50_ms, "ms", "lower", of))
        figures.append(Figure("latency.p99", one.p99_ms, "ms", "lower", of))
        if one.memory_mb is not None:
            figures.append(Figure("memory.host_peak", one.memory_mb, "MB", "lower", of))
        if one.iou is not None:
            figures.append(Figure("iou", one.iou, "", "higher", of))
    notes = [f"recommended on this device: {best.sentence()}: {number_text(best.ms_per_mpx)} ms a megapixel of map"]
    if any(one.iou is None for one in settings):
        notes.append("no certificate, or not each, holds an IoU on labelled images: time and memory alone decide")
    notes += [f"not measured: {refusal.what}: {refusal.why}" for refusal in refusals]
    return Result(
        benchmark="sweep",
        settings={
            "engine_used": best.engine,
            "engines": list(options.engines),
            "batches": list(options.batches),
            "tiles": list(options.tiles or ()),
            "precisions": list(options.precisions),
            "max_iou_loss_points": options.max_iou_loss,
            "min_calls": options.min_calls,
            "recommended": vars(best),
            "unbeaten": [vars(one) for one in front],
        },
        figures=figures,
        models=models,
        notes=notes,
        steady=all(one.steady for one in settings),
    )


def sweep_table(settings: Sequence[Setting]) -> str:
    """Return the table for people, fastest first; a star marks what nobody beats."""
    front = unbeaten(settings)
    rows = [
        (
            f"{'*' if one in front else ' '} {one.artifact}",
            one.precision,
            one.engine,
            str(one.tile_px),
            str(one.batch),
            number_text(one.ms_per_mpx),
            number_text(one.p50_ms),
            number_text(one.p99_ms),
            "-" if one.memory_mb is None else number_text(one.memory_mb),
            "-" if one.iou is None else f"{one.iou:.4f}",
        )
        for one in sorted(settings, key=lambda one: one.ms_per_mpx)
    ]
    header = ("artifact", "precision", "engine", "tile, px", "batch", "ms a Mpx of map", "p50, ms", "p99, ms")
    return table_of((*header, "memory, MB", "IoU"), rows)


def write_sweep(settings: Sequence[Setting], result: Result, folder: Path) -> None:
    """Write `sweep.png`: time against IoU, or memory where there is no IoU; the larger a dot, the more memory."""
    by_iou = all(one.iou is not None for one in settings)
    known = [one for one in settings if by_iou or one.memory_mb is not None]
    front = sorted(unbeaten(settings), key=lambda one: one.ms_per_mpx)
    most_mb = max((one.memory_mb or 0.0 for one in settings), default=0.0) or 1.0

    def y_of(one: Setting) -> float:
        return float((one.iou if by_iou else one.memory_mb) or 0.0)

    with plots.drawn(folder / "sweep.png", title=plots.heading(result)) as axes:
        for number, precision in enumerate(dict.fromkeys(one.precision for one in known)):
            mine = [one for one in known if one.precision == precision]
            sizes = [20 + 180 * (one.memory_mb or 0.0) / most_mb for one in mine]
            colour = plots.COLOURS[number % len(plots.COLOURS)]
            axes.scatter(
                [one.ms_per_mpx for one in mine], [y_of(one) for one in mine], s=sizes, c=colour, label=precision
            )
        for one in front:
            axes.annotate(f"{one.tile_px} px, {one.engine}, x{one.batch}", (one.ms_per_mpx, y_of(one)), fontsize=7)
        axes.set_xlabel("ms a megapixel of map")
        axes.set_ylabel("landslide IoU" if by_iou else "peak memory, MB")
        axes.legend(title="dots: memory; named: unbeaten")


def _exports(options: argparse.Namespace, folder: Path) -> list[Export]:
    folder.mkdir(parents=True, exist_ok=True)
    return [
        Export(options.ckpt, precision, tile_px, options.calib, options.eval, folder)
        for precision in options.precisions
        for tile_px in options.tiles or (None,)
    ]


def _words(known: Sequence[str]) -> Any:
    def words(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(text.split(",")))
        unknown = [word for word in found if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return found

    return words


def _say(line: str) -> None:
    print(f"kda-bench: {line}", file=sys.stderr, flush=True)
