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
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kda_edge import __version__
from kda_edge.commands import ended
from kda_edge.standard_streams import with_steady_streams

from ..engines.engine_names import ENGINES
from ..scene_options import DEFAULT_OPTIONS, POLYGON_FORMATS
from .config import InferConfig, config_from, require_fitting
from .merge import COMMAND as MERGE
from .merge import merge
from .report import PROGRAM, warnings_told
from .scenes import infer_scenes
from .values import ValueRange, area, bands, count, memory, metres, number, pixels, seconds, shard
from .videos import infer_videos

CUT_OFF: Final = "interrupted; what was at work has no map yet; run the same command again"


def parse(argv: Sequence[str] | None = None) -> InferConfig:
    """Read a command line; wrong usage prints the usage and exits with 2.

    Raises:
        UsageError: options that can't be right together.
    """
    return config_from(flags().parse_args(argv))


def flags() -> argparse.ArgumentParser:
    """Return the parser; the value of a flag has the name of its field in `InferConfig` or `SceneOptions`."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "scenes",
        nargs="+",
        metavar="scene.tif",
        help="georeferenced image, any format that GDAL reads, or its address; or a video",
    )
    add("--video", action="store_true", help="take them for videos, whatever they are called: http://camera/live")
    add("--model", type=Path, metavar="M.onnx", help="model made by kda-export (default: the bundled student)")
    add(
        "-o",
        "--out",
        dest="out_dir",
        type=Path,
        metavar="DIR",
        help="folder for the outputs (default: beside each scene)",
    )
    add("--bands", type=bands, metavar="R,G,B", help="numbers of the model's bands (red, green, blue), from 1")
    add(
        "--value-range",
        action=ValueRange,
        nargs=2,
        type=number,
        metavar=("LO", "HI"),
        help="least and largest value that the scene can hold; needed where its pixel type is not the model's",
    )
    add("--min-area", type=area, metavar="M2", help="leave out polygons below this many square metres")
    add(
        "--resample",
        nargs="?",
        type=metres,
        const="trained",
        metavar="METRES",
        help="read a scene, and make its map, at so many metres a pixel (default: the nearest trained on)",
    )
    add(
        "--quicklook",
        action="store_true",
        help="map a quarter of the resolution first, 16 times fewer pixels: SCENE_landslide_quicklook.tif",
    )
    add("--any-gsd", action="store_true", help="map also pixels far finer or coarser than the model learned from")
    add(
        "--overlap",
        dest="overlap_px",
        type=pixels,
        metavar="PX",
        help="least overlap of tiles (default: a quarter of a tile)",
    )
    add(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="default: TensorRT where a GPU and it are, else the faster of OpenVINO and ONNX Runtime (cpu)",
    )
    add("--threads", type=count, default=0, metavar="N", help="threads of an engine on the CPU (default: what suits)")
    add("--allow-unverified", action="store_true", help="take a model whose certificate is missing or does not hold")
    add("--polygons", choices=POLYGON_FORMATS, help="format of the polygons (default: geojson)")
    add(
        "--max-memory",
        dest="max_memory_bytes",
        type=memory,
        metavar="SIZE",
        help="most memory to take, such as 800M or 1.5G",
    )
    add("--strict", action="store_true", help="stop a scene at its first failed tile instead of marking it")
    add("--restart", action="store_true", help="forget what a run that was cut off has finished, and begin anew")
    add("--overwrite", action="store_true", help="replace maps of other scenes that lie where the new ones go")
    add("--shard", type=shard, metavar="I/N", help="compute the I-th of N shares, for kda-infer merge")
    add("--every", type=count, default=1, metavar="N", help="look at every N-th frame of a video")
    add(
        "--max-side",
        dest="max_side_px",
        type=count,
        metavar="PX",
        help="make a video's frames smaller, which changes what is found",
    )
    add("--seconds", type=seconds, metavar="S", help="end after so many seconds of a video")
    add("--json", dest="as_json", action="store_true", help="print one JSON object a scene, on one line")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")
    add("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.set_defaults(**vars(DEFAULT_OPTIONS))
    return parser


@with_steady_streams
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 an error, 2 wrong usage, 128 and the number of a stop signal."""
    from .stop_signals import heard

    words = list(sys.argv[1:] if argv is None else argv)
    with heard() as stop, warnings_told():

        def run() -> int:
            if words[:1] == [MERGE]:  # a scene of that name is ./merge
                return merge(words[1:], stop)
            config = parse(words)
            require_fitting(config, parse(["plain.tif"]))
            return infer_videos(config, stop) if config.videos else infer_scenes(config, stop)

        return ended(PROGRAM, run, interrupted=CUT_OFF, stopped=lambda: stop.exit_code)
