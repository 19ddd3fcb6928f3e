"""Map the landslides in georeferenced images with a model that runs anywhere.

Writes three files beside each scene, or into the folder given with -o: SCENE_landslide.tif (bands class, probability
and qa), SCENE_landslide.geojson (polygons with their area) and SCENE_landslide.png (a picture).

A run that was cut off goes on where it was: give the same command again. To share one scene among machines, give
--shard 1/3, 2/3 and 3/3 and join what they leave in DIR: kda-infer merge valley.tif --shards DIR -o maps

Of videos (flight.mp4), cameras (/dev/video0) and streams (rtsp://host/path) it writes FLIGHT_landslide.mp4, an overlay,
and FLIGHT_landslide.jsonl, a JSON line a frame; of live ones the newest frame is looked at, the others are dropped.

Example: kda-infer valley.tif -o maps --min-area 100
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from kda_edge import __version__
from kda_edge.errors import Cancelled, KdaEdgeError, UsageError

from ..engines.engine_names import ENGINES
from .merge import COMMAND as MERGE
from .merge import merge
from .report import EXIT_ERROR, PROGRAM, bar, complain, json_line, sentence, warnings_told
from .values import POLYGONS, area, bands, count, memory, metres, number, pixels, seconds, shard
from .videos import infer_videos, require_fitting, source

if TYPE_CHECKING:
    from ..results import SceneResult, ShardResult
    from ..segmenter import Segmenter
    from .stop_signals import StopSignals

CUT_OFF: Final = "interrupted; the scene at work has no map; run the same command again to go on"


@dataclass(frozen=True)
class InferConfig:
    """What the command line asks for.

    Attributes:
        scenes: to map, in this order.
        videos: files, cameras' devices or addresses, instead of scenes.
        model: `.onnx` file, or None for the bundled student.
        out_dir: folder of the outputs, or None for beside each scene.
        bands: 1-based numbers of the model's bands (red, green, blue), or None to ask the file.
        value_range: least and largest value that a scene can hold, or None for the model's own pixels.
        resample: metres a pixel to read a scene at, or `trained` for the nearest that the model learned from, or None.
        any_gsd: map also pixels far finer or coarser than the model learned from.
        min_area: smaller polygons are left out, m2.
        overlap_px: least overlap of tiles, or None for the default.
        as_json: one JSON line a scene instead of a sentence.
        quiet: neither sentence nor progress bar.
        engine: what runs the model, one of `kda_edge.runtime.engines.engine_names.ENGINES`.
        threads: of an engine on the CPU, or 0 for as many as suit this process.
        allow_unverified: map with a model whose certificate is missing, fails or is of another graph.
        polygons: format of the polygons, one of `kda_edge.runtime.cli.values.POLYGONS`.
        max_memory_bytes: most memory to take, or None.
        strict: stop a scene at its first failed tile.
        restart: forget what a run that was cut off has finished.
        shard: number and count of the share of each scene that is wanted, or None for all of it.
        every: look at each `every`-th frame of a video.
        max_side_px: longest side to which frames are made smaller, or None for as they are.
        seconds: of a video, from its start, or None for all.
    """

    scenes: tuple[Path, ...]
    model: Path | None
    out_dir: Path | None
    bands: tuple[int, int, int] | None
    value_range: tuple[float, float] | None
    min_area: float
    overlap_px: int | None
    as_json: bool
    quiet: bool
    engine: str = "auto"
    threads: int = 0
    allow_unverified: bool = False
    resample: Literal["trained"] | float | None = None
    any_gsd: bool = False
    polygons: str = "geojson"
    max_memory_bytes: int | None = None
    strict: bool = False
    restart: bool = False
    shard: tuple[int, int] | None = None
    videos: tuple[str, ...] = ()
    every: int = 1
    max_side_px: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UsageError("--value-range takes the least, then the largest value")
        if self.shard is not None and (self.min_area or self.polygons != "geojson"):
            raise UsageError("a shard has no polygons yet; give --min-area and --polygons to kda-infer merge")


def parse(argv: Sequence[str] | None = None) -> InferConfig:
    """Read a command line; wrong usage prints the usage and exits with 2."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "scenes",
        nargs="+",
        type=source,
        metavar="scene.tif",
        help="georeferenced image, any format that GDAL reads; or a video",
    )
    add("--model", type=Path, metavar="M.onnx", help="model made by kda-export (default: the bundled student)")
    add("-o", "--out", type=Path, metavar="DIR", help="folder for the outputs (default: beside each scene)")
    add(
        "--bands",
        type=bands,
        metavar="R,G,B",
        help="numbers of the model's bands (red, green, blue), from 1",
    )
    add(
        "--value-range",
        nargs=2,
        type=number,
        metavar=("LO", "HI"),
        help="least and largest value that the scene can hold; needed where its pixel type is not the model's",
    )
    add(
        "--min-area",
        type=area,
        default=0.0,
        metavar="M2",
        help="leave out polygons below this many square metres",
    )
    add(
        "--resample",
        nargs="?",
        type=metres,
        const="trained",
        metavar="METRES",
        help="read a scene, and make its map, at so many metres a pixel (default: the nearest trained on)",
    )
    add("--any-gsd", action="store_true", help="map also pixels far finer or coarser than the model learned from")
    add("--overlap", type=pixels, metavar="PX", help="least overlap of tiles (default: a quarter of a tile)")
    add(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="default: TensorRT where a GPU and it are, else the faster of OpenVINO and ONNX Runtime (cpu)",
    )
    add("--threads", type=count, default=0, metavar="N", help="threads of an engine on the CPU (default: what suits)")
    add("--allow-unverified", action="store_true", help="take a model whose certificate is missing or does not hold")
    add("--polygons", choices=POLYGONS, default="geojson", help="format of the polygons (default: geojson)")
    add("--max-memory", type=memory, metavar="SIZE", help="most memory to take, such as 800M or 1.5G")
    add("--strict", action="store_true", help="stop a scene at its first failed tile instead of marking it")
    add("--restart", action="store_true", help="forget what a run that was cut off has finished, and begin anew")
    add("--shard", type=shard, metavar="I/N", help="compute the I-th of N shares, for kda-infer merge")
    add("--every", type=count, default=1, metavar="N", help="look at every N-th frame of a video")
    add("--max-side", type=count, metavar="PX", help="make a video's frames smaller, which changes what is found")
    add("--seconds", type=seconds, metavar="S", help="end after so many seconds of a video")
    add("--json", action="store_true", help="print one JSON object a scene, on one line")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    args = parser.parse_args(argv)
    return InferConfig(
        scenes=tuple(name for name in args.scenes if isinstance(name, Path)),
        videos=tuple(name for name in args.scenes if isinstance(name, str)),
        every=args.every,
        max_side_px=args.max_side,
        seconds=args.seconds,
        model=args.model,
        out_dir=args.out,
        bands=args.bands,
        value_range=None if args.value_range is None else (args.value_range[0], args.value_range[1]),
        resample=args.resample,
        any_gsd=args.any_gsd,
        min_area=args.min_area,
        overlap_px=args.overlap,
        as_json=args.json,
        quiet=args.quiet,
        engine=args.engine,
        threads=args.threads,
        allow_unverified=args.allow_unverified,
        polygons=args.polygons,
        max_memory_bytes=args.max_memory,
        strict=args.strict,
        restart=args.restart,
        shard=args.shard,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 an error, 2 wrong usage, 128 and the number of a stop signal."""
    from .stop_signals import heard

    words = list(sys.argv[1:] if argv is None else argv)
    with heard() as stop, warnings_told():
        try:
            if words[:1] == [MERGE]:  # a scene of that name is ./merge
                return merge(words[1:], stop)
            return infer(parse(words), stop)
        except Cancelled as error:
            complain(error)
            return stop.exit_code
        except KdaEdgeError as error:
            return complain(error)
        except KeyboardInterrupt:
            print(f"{PROGRAM}: {CUT_OFF}", file=sys.stderr)
            return stop.exit_code
        except BrokenPipeError:  # whoever read our lines has gone; say nothing more, at Python's exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_ERROR


def infer(config: InferConfig, stop: StopSignals) -> int:
    """Map each scene; an error in one does not keep the others from their maps. Return the exit code."""
    require_fitting(config, parse(["plain.tif"]))
    if config.videos:
        return infer_videos(config, stop)

    from ..outputs.output_files import require_no_clash
    from ..segmenter import Segmenter

    require_no_clash(config.scenes, config.out_dir)
    code = 0
    with Segmenter.open(
        config.model, engine=config.engine, allow_unverified=config.allow_unverified, threads=config.threads
    ) as segmenter:
        for scene_path in config.scenes:
            try:
                result = _run(segmenter, scene_path, config, stop)
            except KdaEdgeError as error:
                if config.as_json and not config.quiet:
                    print(json.dumps({"scene": str(scene_path), "error": str(error)}), flush=True)
                if isinstance(error, Cancelled):
                    raise
                code = max(code, complain(error))
                continue
            if result.failed_tiles:
                code = max(code, EXIT_ERROR)
                print(f"{PROGRAM}: {scene_path}: {result.notes[0]}", file=sys.stderr)
            if not config.quiet:
                print(json_line(result) if config.as_json else sentence(result), flush=True)
    return code


def _run(segmenter: Segmenter, scene_path: Path, config: InferConfig, stop: StopSignals) -> SceneResult | ShardResult:
    from ..runs.shards import Shard

    show_bar = sys.stderr.isatty() and not config.quiet
    try:
        with stop.polled() as asked:
            same: dict[str, Any] = {
                "bands": config.bands,
                "value_range": config.value_range,
                "resample": config.resample,
                "any_gsd": config.any_gsd,
                "overlap_px": config.overlap_px,
                "max_memory_bytes": config.max_memory_bytes,
                "strict": config.strict,
                "restart": config.restart,
                "progress": bar(scene_path.name, sys.stderr) if show_bar else None,
                "cancel": asked,
            }
            if config.shard is not None:
                return segmenter.predict_shard(scene_path, Shard(*config.shard), config.out_dir, **same)
            return segmenter.predict_scene(
                scene_path, config.out_dir, min_area=config.min_area, polygons=config.polygons, **same
            )
    finally:
        if show_bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # the bar leaves no trace
