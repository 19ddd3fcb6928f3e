"""Join the shards of one scene into the map, polygons and picture that one run would have made.

Give the very file that was mapped, and the folder that holds SCENE_landslide.shard-1-of-N.kda and all the others. They
may come from several machines. The result is the same, byte for byte; neither model nor engine is needed.

Example: kda-infer merge valley.tif --shards collected -o maps
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kda_edge.commands import EXIT_ERROR

from ..scene_options import DEFAULT_OPTIONS, POLYGON_FORMATS
from .report import PROGRAM, json_line, sentence
from .values import area

if TYPE_CHECKING:
    from .stop_signals import StopSignals

COMMAND: Final = "merge"


def merge(argv: Sequence[str], stop: StopSignals) -> int:
    """Run `kda-infer merge`; return its exit code."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {COMMAND}",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("scene", metavar="scene.tif", help="the image that was mapped")
    add("--shards", nargs="+", type=Path, required=True, metavar="DIR", help="folders of shards, or their files")
    add("-o", "--out", type=Path, metavar="DIR", help="folder for the outputs (default: beside the scene)")
    add("--min-area", type=area, metavar="M2", help="leave out polygons below this, m2")
    add("--polygons", choices=POLYGON_FORMATS, help="format of the polygons (default: geojson)")
    add("--overwrite", action="store_true", help="replace the map of another scene, should one lie there")
    add("--json", action="store_true", help="print one JSON object, on one line")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(min_area=DEFAULT_OPTIONS.min_area, polygons=DEFAULT_OPTIONS.polygons)
    args = parser.parse_args(argv)

    from ..runs.merge_shards import merge_shards

    with stop.polled() as asked:
        result = merge_shards(
            args.scene,
            args.shards,
            args.out,
            min_area=args.min_area,
            polygons=args.polygons,
            overwrite=args.overwrite,
            cancel=asked,
        )
    if result.failed_tiles:
        print(f"{PROGRAM}: {args.scene}: {result.notes[0]}", file=sys.stderr)
    if not args.quiet:
        print(json_line(result) if args.json else sentence(result), flush=True)
    return EXIT_ERROR if result.failed_tiles else 0
