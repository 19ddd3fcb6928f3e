"""`kda-infer` on videos: an overlay and JSON lines of each; a flight that is broken off keeps what was done."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from math import inf
from typing import TYPE_CHECKING, Final

from kda_edge import __version__
from kda_edge.commands import EXIT_ERROR
from kda_edge.errors import Cancelled, KdaEdgeError, UsageError
from kda_edge.paths import resolved

from .report import PROGRAM, complain

if TYPE_CHECKING:
    from ..segmenter import Segmenter
    from ..streams.stream_results import FrameResult
    from ..video.map_video import VideoPaths, VideoResult
    from .config import InferConfig
    from .stop_signals import StopSignals

SILENT: Final = {"OPENCV_LOG_LEVEL": "OFF", "OPENCV_FFMPEG_LOGLEVEL": "-8"}  # read when OpenCV is loaded


def infer_videos(config: InferConfig, stop: StopSignals) -> int:
    """Write overlay and lines of each video; an error in one does not keep the others. Return the exit code.

    Raises:
        Cancelled: a signal came before the first frame of a video was done.
        UsageError: two videos have one name.
    """
    for variable, silent in SILENT.items():
        os.environ.setdefault(variable, silent)
    from ..segmenter import Segmenter
    from ..streams.source_names import is_live, shown
    from ..video.map_video import video_paths

    now = datetime.now(timezone.utc)
    outputs = {name: video_paths(name, config.out_dir, now) for name in config.videos}
    if len({resolved(paths.video) for paths in outputs.values()}) < len(config.videos):
        raise UsageError("two of the videos would be written to one file; give each once, or different folders with -o")
    code = 0
    with Segmenter.open(
        config.model, engine=config.engine, allow_unverified=config.allow_unverified, threads=config.threads
    ) as segmenter:
        if any(map(is_live, config.videos)):
            segmenter.warm_up()  # so that the first frames need not wait
        for name, final in outputs.items():
            try:
                result = _run(segmenter, name, final, config, stop)
            except KdaEdgeError as error:
                if config.as_json and not config.quiet:
                    print(json.dumps({"video": shown(name), "error": str(error)}), flush=True)
                if isinstance(error, Cancelled):
                    raise
                code = max(code, complain(error))
                continue
            if result.ended_early or result.summary.failed_tiles:
                code = max(code, EXIT_ERROR)
                print(f"{PROGRAM}: {result.source}: {_trouble(result)}", file=sys.stderr)
            if not config.quiet:
                print(json_line(result) if config.as_json else sentence(result), flush=True)
            if stop.asked():
                return stop.exit_code
    return code


def _run(segmenter: Segmenter, name: str, final: VideoPaths, config: InferConfig, stop: StopSignals) -> VideoResult:
    from ..video.map_video import map_video

    show = sys.stderr.isatty() and not config.quiet

    def told(result: FrameResult) -> None:
        if show:
            line = f"{final.video.name}: frame {result.index}, {result.timestamp_s:.1f} s, {result.latency_ms:.0f} ms"
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    try:
        with stop.polled() as asked:
            return map_video(
                segmenter,
                name,
                final,
                every=config.every,
                max_side_px=config.max_side_px,
                overlap_px=config.options.overlap_px,
                seconds=inf if config.seconds is None else config.seconds,
                overwrite=config.options.overwrite,
                cancel=asked,
                told=told,
            )
    finally:
        if show:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _trouble(result: VideoResult) -> str:
    if result.ended_early:
        return f"{result.ended_early}; the {result.summary.frames_out} frames before that are kept"
    return f"{result.summary.failed_tiles} tiles failed; the JSON lines say in which frames"


def sentence(result: VideoResult) -> str:
    """Return what a person wants to know of a video, on one line."""
    summary = result.summary
    found = f"landslide in {result.landslide_frames} of {summary.frames_out} frames"
    if summary.dropped or summary.skipped:
        found += f" ({summary.dropped} dropped, {summary.skipped} skipped)"
    latency = f"latency {summary.latency_p50_ms:.0f} ms, p99 {summary.latency_p99_ms:.0f} ms"
    notes = "".join(f"; {note}" for note in result.notes)
    return (
        f"{result.source}: {found} -> {result.video_path} in {summary.seconds:.1f} s "
        f"with {result.engine} ({summary.fps:.1f} frames/s, {latency}){notes}"
    )


def json_line(result: VideoResult) -> str:
    """Return all that is known of a video, as one JSON object on one line."""
    from ..video.map_video import plain_summary

    plain = {
        "video": result.source,
        "overlay": str(result.video_path),
        "lines": str(result.lines_path),
        "engine": result.engine,
        "landslide_frames": result.landslide_frames,
        "ended_early": result.ended_early,
        **plain_summary(result.summary),
        "notes": result.notes,
        "version": __version__,
    }
    return json.dumps(plain, allow_nan=False)
