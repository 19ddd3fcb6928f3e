"""`kda-infer` on scenes: a map of each; an error in one does not keep the others from theirs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from kda_edge.commands import EXIT_ERROR
from kda_edge.errors import Cancelled, KdaEdgeError

from .report import PROGRAM, bar, complain, json_line, sentence

if TYPE_CHECKING:
    from ..geo.raster_names import RasterName
    from ..results import SceneResult, ShardResult
    from ..segmenter import Segmenter
    from .config import InferConfig
    from .stop_signals import StopSignals


def infer_scenes(config: InferConfig, stop: StopSignals) -> int:
    """Map each scene; an error in one does not keep the others from their maps. Return the exit code."""
    from ..outputs.output_files import require_no_clash
    from ..segmenter import Segmenter

    options = config.options
    require_no_clash(config.scenes, config.out_dir, options.polygons, quicklook=options.quicklook)
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


def _run(
    segmenter: Segmenter, scene_path: RasterName, config: InferConfig, stop: StopSignals
) -> SceneResult | ShardResult:
    from ..runs.shards import Shard

    show_bar = sys.stderr.isatty() and not config.quiet
    try:
        with stop.polled() as asked:
            out_dir, options = config.out_dir, config.options
            progress = bar(scene_path.name, sys.stderr) if show_bar else None
            if config.shard is None:
                return segmenter.predict_scene(scene_path, out_dir, options, progress=progress, cancel=asked)
            shard = Shard(*config.shard)
            return segmenter.predict_shard(scene_path, shard, out_dir, options, progress=progress, cancel=asked)
    finally:
        if show_bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # the bar leaves no trace
