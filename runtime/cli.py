"""Map the landslides in georeferenced images with a model that runs anywhere.

Writes three files beside each scene, or into the folder given with -o: SCENE_landslide.tif (bands class, probability
and qa), SCENE_landslide.geojson (polygons with their area) and SCENE_landslide.png (a picture).

Example: kda-infer valley.tif -o maps --min-area 100
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from kda_edge import __version__
from kda_edge.errors import KdaEdgeError, UsageError

from .engine_choice import ENGINES

if TYPE_CHECKING:
    from .interrupts import Interrupts
    from .results import SceneResult
    from .segmenter import Segmenter

PROGRAM: Final = "kda-infer"
BAR_CHARS: Final = 30
EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class InferConfig:
    """What the command line asks for.

    Attributes:
        scenes: to map, in this order.
        model: `.onnx` file, or None for the bundled student.
        out_dir: folder of the outputs, or None for beside each scene.
        bands: 1-based numbers of the model's bands (red, green, blue), or None to ask the file.
        value_range: least and largest value that a scene can hold, or None for the model's own pixels.
        min_area: smaller polygons are left out, m2.
        overlap_px: least overlap of tiles, or None for the default.
        as_json: one JSON line a scene instead of a sentence.
        quiet: neither sentence nor progress bar.
        engine: what runs the model, one of `kda_edge.runtime.engine_choice.ENGINES`.
        allow_unverified: map with a model whose certificate is missing, fails or is of another graph.
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
    allow_unverified: bool = False

    def __post_init__(self) -> None:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UsageError("--value-range takes the least, then the largest value")


def parse(argv: Sequence[str] | None = None) -> InferConfig:
    """Read a command line; wrong usage prints the usage and exits with 2."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("scenes", nargs="+", type=Path, metavar="scene.tif", help="georeferenced image, any format that GDAL reads")
    add("--model", type=Path, metavar="M.onnx", help="model made by kda-export (default: the bundled student)")
    add("-o", "--out", type=Path, metavar="DIR", help="folder for the outputs (default: beside each scene)")
    add("--bands", type=_bands, metavar="R,G,B", help="numbers of the model's bands (red, green, blue), from 1")
    add(
        "--value-range",
        nargs=2,
        type=_number,
        metavar=("LO", "HI"),
        help="least and largest value that the scene can hold; needed where its pixel type is not the model's",
    )
    add("--min-area", type=_area, default=0.0, metavar="M2", help="leave out polygons below this many square metres")
    add("--overlap", type=_pixels, metavar="PX", help="least overlap of tiles (default: a quarter of a tile)")
    add("--engine", choices=ENGINES, default="auto", help="default: TensorRT where a GPU and it are, else the CPU")
    add("--allow-unverified", action="store_true", help="take a model whose certificate is missing or does not hold")
    add("--json", action="store_true", help="print one JSON object a scene, on one line")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    args = parser.parse_args(argv)
    return InferConfig(
        scenes=tuple(args.scenes),
        model=args.model,
        out_dir=args.out,
        bands=args.bands,
        value_range=None if args.value_range is None else (args.value_range[0], args.value_range[1]),
        min_area=args.min_area,
        overlap_px=args.overlap,
        as_json=args.json,
        quiet=args.quiet,
        engine=args.engine,
        allow_unverified=args.allow_unverified,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    try:
        return infer(parse(argv))
    except KdaEdgeError as error:
        return _complain(error)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; the scene at work has no map", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our lines has gone; say nothing more, at Python's exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR


def infer(config: InferConfig) -> int:
    """Map each scene; an error in one does not keep the others from their maps. Return the exit code."""
    from .interrupts import heard
    from .outputs import require_no_clash
    from .segmenter import Segmenter

    require_no_clash(config.scenes, config.out_dir)
    code = 0
    with (
        heard() as interrupts,
        Segmenter.open(config.model, engine=config.engine, allow_unverified=config.allow_unverified) as segmenter,
    ):
        for scene_path in config.scenes:
            try:
                result = _map_scene(segmenter, scene_path, config, interrupts)
            except KdaEdgeError as error:
                code = max(code, _complain(error))
                if config.as_json and not config.quiet:
                    print(json.dumps({"scene": str(scene_path), "error": str(error)}), flush=True)
                continue
            if result.failed_tiles:
                code = max(code, EXIT_ERROR)
                print(f"{PROGRAM}: {scene_path}: {result.notes[0]}", file=sys.stderr)
            if not config.quiet:
                print(_json(result) if config.as_json else _sentence(result), flush=True)
    return code


def _map_scene(segmenter: Segmenter, scene_path: Path, config: InferConfig, interrupts: Interrupts) -> SceneResult:
    show_bar = sys.stderr.isatty() and not config.quiet
    try:
        return segmenter.predict_scene(
            scene_path,
            config.out_dir,
            bands=config.bands,
            value_range=config.value_range,
            min_area=config.min_area,
            overlap_px=config.overlap_px,
            progress=interrupts.checked(_bar(scene_path.name, sys.stderr) if show_bar else None),
        )
    finally:
        if show_bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # the bar leaves no trace


def _bar(name: str, stream: TextIO) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        filled = BAR_CHARS * done // total
        bar = "#" * filled + "." * (BAR_CHARS - filled)
        print(f"\r{name} [{bar}] {done}/{total} tiles", end="", file=stream, flush=True)

    return show


def _complain(error: KdaEdgeError) -> int:
    print(f"{PROGRAM}: {error}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR


def _sentence(result: SceneResult) -> str:
    """Return what a person wants to know of a scene, on one line."""
    share = result.landslide_px / result.valid_px if result.valid_px else 0.0
    area = f"{result.polygons} polygons"
    if result.area_m2 is not None:
        area += f", {result.area_m2:,.0f} m2"
    notes = "".join(f"; {note}" for note in result.notes)
    return (
        f"{result.scene_path}: landslide on {share:.2%} of {result.valid_px:,} px ({area}) "
        f"-> {result.map_path} in {result.seconds:.1f} s{notes}"
    )


def _json(result: SceneResult) -> str:
    plain: dict[str, Any] = dataclasses.asdict(result)
    renamed = {"scene_path": "scene", "map_path": "map", "polygons_path": "polygons_file", "picture_path": "picture"}
    plain = {renamed.get(name, name): str(v) if isinstance(v, Path) else v for name, v in plain.items()}
    return json.dumps(plain | {"version": __version__}, allow_nan=False)


def _bands(text: str) -> tuple[int, int, int]:
    try:
        red, green, blue = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three band numbers such as 3,2,1") from None
    if min(red, green, blue) < 1:
        raise argparse.ArgumentTypeError("band numbers start at 1")
    return red, green, blue


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def _area(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError("an area is 0 or more")
    return value


def _pixels(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels")
    return int(text)
