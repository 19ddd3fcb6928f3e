"""A video, live or recorded, to two files: an overlay to look at, and a JSON line a frame for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from math import inf, isnan
from pathlib import Path
from typing import Final

import numpy as np

from kda_edge import __version__
from kda_edge.errors import Cancelled, KdaEdgeError, OutputError, UsageError, VideoError
from kda_edge.manifest import Manifest
from kda_edge.paths import same_file

from ..geo.gdal import one_line
from ..map_format import NODATA_BYTE
from ..outputs.output_files import require_names, staged_files
from ..segmenter import Segmenter
from ..streams.source_names import is_live, is_url, shown, stem_of
from ..streams.stream_results import FrameResult, StreamSummary
from .mp4_writer import VideoWriter
from .overlay import overlaid
from .video_owner import recording_digest, require_own_lines

LIVE_FPS: Final = 10.0  # of the overlay of a live source, whose frames come as the engine can
UNKNOWN_FPS: Final = 25.0  # of the overlay of a recording that does not say


@dataclass(frozen=True)
class VideoPaths:
    """Where the two files of a video lie.

    Attributes:
        video: overlay, MP4.
        lines: a JSON line a frame, and one of the whole.
    """

    video: Path
    lines: Path


@dataclass(frozen=True)
class VideoResult:
    """What was made of a video.

    Attributes:
        source: its name, without passwords.
        video_path: overlay, MP4.
        lines_path: a JSON line a frame, and one of the whole.
        engine: what ran the model.
        landslide_frames: frames with at least one pixel of landslide.
        ended_early: why the source was not seen to its end, a clause; empty: it was, or its time was up.
        summary: figures of the stream.
        notes: what a person should know, a sentence each.
    """

    source: str
    video_path: Path
    lines_path: Path
    engine: str
    landslide_frames: int
    ended_early: str
    summary: StreamSummary
    notes: tuple[str, ...]


def video_paths(name: str, out_dir: Path | None, now: datetime) -> VideoPaths:
    """Return where a video's outputs go: into out_dir, or beside the video; of an address, here.

    A flight can't be flown again, so that the outputs of live sources are named after the time as well and never
    replace others.
    """
    beside = Path.cwd() if is_url(name) or is_live(name) else Path(name).parent
    folder = beside if out_dir is None else out_dir
    stem = f"{stem_of(name)}_{now:%Y%m%dT%H%M%SZ}_landslide" if is_live(name) else f"{stem_of(name)}_landslide"
    return VideoPaths(folder / f"{stem}.mp4", folder / f"{stem}.jsonl")


def map_video(
    segmenter: Segmenter,
    name: str,
    final: VideoPaths,
    *,
    every: int = 1,
    max_side_px: int | None = None,
    overlap_px: int | None = None,
    seconds: float = inf,
    overwrite: bool = False,
    cancel: Callable[[], bool] = lambda: False,
    told: Callable[[FrameResult], None] = lambda result: None,
) -> VideoResult:
    """Write the overlay and the lines of a video; where it breaks off, of the frames up to there.

    Args:
        segmenter: open.
        name: file, camera's device or address.
        final: the two files, given these names together at the end; those of the same recording are replaced.
        every: as in `Segmenter.stream`, as the others below.
        max_side_px: see there.
        overlap_px: see there.
        seconds: see there.
        overwrite: replace also files of another recording.
        cancel: see there.
        told: called with each result.

    Raises:
        VideoError: there is not one frame.
        EngineError: the first frame has no answer.
        UsageError: an option that can't be right, or a model that does not take video.
        OutputError: the files can't be written, or are another recording's.
        Cancelled: `cancel` said so before the first frame was done.
    """
    started = datetime.now(timezone.utc)
    stream = segmenter.stream(
        name, every=every, max_side_px=max_side_px, overlap_px=overlap_px, seconds=seconds, cancel=cancel
    )
    bands, live = segmenter.manifest.input.bands, stream.source.live
    fps = LIVE_FPS if live else (stream.source.fps or UNKNOWN_FPS) / every
    landslide_frames, ended_early = 0, ""
    with (
        stream,
        _as_output_error(final.video),
        _ready(final, name, overwrite=overwrite) as hidden,
        hidden.lines.open("w", encoding="utf-8", buffering=1) as lines,
        VideoWriter(hidden.video, fps, by_time=live) as writer,
    ):
        try:
            for result in stream:
                writer.write(overlaid(result.frame, result.prediction.mask, bands), result.timestamp_s)
                print(frame_line(result), file=lines)
                landslide_frames += bool((result.prediction.mask == 1).any())
                told(result)
        except OutputError:
            raise
        except KdaEdgeError as error:
            if not stream.summary.frames_out:
                raise
            ended_early = str(error)
        if cancel():
            ended_early = "stopped as asked"
        if not stream.summary.frames_out:
            if cancel():
                raise Cancelled(f"{stream.source.name}: stopped as asked before its first frame was done")
            raise VideoError(f"{stream.source.name} gave no frame in {seconds:g} s; check that it is switched on")
        writer.finish()
        result_of_all = VideoResult(
            source=stream.source.name,
            video_path=final.video,
            lines_path=final.lines,
            engine=segmenter.engine_name,
            landslide_frames=landslide_frames,
            ended_early=ended_early,
            summary=stream.summary,
            notes=(*stream.summary.notes, *writer.notes, *segmenter.notes),
        )
        print(last_line(result_of_all, segmenter.manifest, started, recording_digest(name)), file=lines)
    return result_of_all


def frame_line(result: FrameResult) -> str:
    """Return what is known of a frame as one JSON object on one line; shares are null where no pixel has an answer."""
    prediction = result.prediction
    known = prediction.mask != NODATA_BYTE
    known_px, slide_px = int(np.count_nonzero(known)), int(np.count_nonzero(prediction.mask == 1))
    largest = float(np.max(prediction.probability, initial=0.0, where=known))
    return json.dumps(
        {
            "frame": result.index,
            "time_s": round(result.timestamp_s, 3),
            "landslide_share": round(slide_px / known_px, 6) if known_px else None,
            "max_probability": round(largest, 6) if known_px else None,
            "unknown_px": known.size - known_px,
            "failed_tiles": len(prediction.failures),
            "latency_ms": round(result.latency_ms, 1),
            "dropped": result.dropped,
            "reconnects": result.reconnects,
        },
        allow_nan=False,
    )


def last_line(result: VideoResult, manifest: Manifest, started: datetime, digest: str) -> str:
    """Return what is known of the whole as one JSON object on one line."""
    return json.dumps(
        {
            "source": result.source,
            "source_digest": digest,
            "started_utc": started.isoformat(timespec="seconds"),
            "landslide_frames": result.landslide_frames,
            "ended_early": result.ended_early,
            **plain_summary(result.summary),
            "notes": result.notes,
            "model": f"{manifest.variant} {manifest.checkpoint_sha256[:12]}",
            "engine": result.engine,
            "threshold": manifest.threshold,
            "version": __version__,
        },
        allow_nan=False,
    )


def plain_summary(summary: StreamSummary) -> dict[str, float | None]:
    """Return the figures of a stream as JSON has them: null where there is none."""
    plain = asdict(summary)
    del plain["notes"]
    return {name: None if isnan(value) else value for name, value in plain.items()}


@contextmanager
def _ready(final: VideoPaths, name: str, *, overwrite: bool) -> Iterator[VideoPaths]:
    """Yield hidden names for the two files."""
    if same_file(final.video, Path(name)):
        raise UsageError(f"the overlay would replace the video {name}; choose another folder with -o")
    if not overwrite:
        require_own_lines(final.lines, final.video, name)
    require_names(final.video, shown(name))
    try:
        final.video.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{final.video.parent} can't be written to ({one_line(error)}); choose another folder with -o"
        ) from error
    with staged_files((final.lines, final.video)) as hidden:
        yield VideoPaths(hidden[final.video], hidden[final.lines])


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except KdaEdgeError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path} can't be written ({one_line(error)}); free some space or choose another folder with -o"
        ) from error
