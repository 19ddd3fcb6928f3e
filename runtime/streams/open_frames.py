"""Opens a source of frames: whatever a caller may give, behind one protocol."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.addresses import path_from_file_url, scheme_of
from kda_edge.errors import UsageError, VideoError
from kda_edge.paths import exists, is_dir, is_utf8

from .frames import Frame, FrameSource
from .source_names import IMAGE_SUFFIXES, SERVING, camera_of, can_be_opened, is_live, is_url, shown

Frames: TypeAlias = str | Path | int | Iterable[NDArray[Any]]


class GivenFrames:
    """Frames that the caller iterates over; channels already in the model's order."""

    def __init__(self, images: Iterable[NDArray[Any]], *, threaded: bool = False) -> None:
        """Take frames from an iterable.

        Args:
            images: (H, W, 3) each.
            threaded: iterate in a thread of ours, and copy each frame: the caller may fill the same array again.
        """
        self._images = iter(images)
        self.name, self.live, self.threaded = "frames", False, threaded
        self.fps: float | None = None
        self.notes: list[str] = []

    def read(self) -> Frame | None:
        """Return the next frame."""
        for image in self._images:
            return Frame(image.copy() if self.threaded and isinstance(image, np.ndarray) else image)
        return None

    def skip(self) -> bool:
        """Pass over a frame."""
        return any(True for _ in self._images)

    def in_order(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels as they are."""
        return image

    def reopen(self) -> None:
        """Never asked for: it is not live."""

    def close(self) -> None:
        """Leave the caller's iterator as it is."""


def open_frames(frames: Frames, bands: Sequence[str], *, drop: bool | None = None) -> FrameSource:
    """Open whatever `Segmenter.stream` takes.

    Args:
        frames: see there.
        bands: names of the model's bands, in its order.
        drop: whether frames that the caller iterates over may be dropped, and so must be asked for by a thread.

    Raises:
        UsageError: nothing that gives frames, or not the model's bands.
        VideoError: a file, camera or address that can't be opened.
    """
    if isinstance(frames, np.ndarray) and frames.ndim < 4:
        raise UsageError("one image is no stream of frames; use predict for it, or give a list of images")
    if isinstance(frames, int) and not isinstance(frames, bool):
        return _camera(frames, bands)
    if isinstance(frames, str | Path):
        return _open_name(str(frames), bands)
    if not isinstance(frames, Iterable):
        raise UsageError(f"frames must be arrays, a path, an address or a camera's number, not {type(frames).__name__}")
    return GivenFrames(frames, threaded=bool(drop))


def _camera(number: int, bands: Sequence[str]) -> FrameSource:
    from .opencv_frames import VideoFrames, camera_capture

    return VideoFrames(f"camera {number}", lambda: camera_capture(number), bands, live=True)


def _open_name(name: str, bands: Sequence[str]) -> FrameSource:
    from .opencv_frames import ImageFiles, VideoFrames, capture

    name = str(path_from_file_url(name) or name)
    number, path = camera_of(name), Path(name)
    if number is not None:
        return _camera(number, bands)
    if is_url(name):
        if not (can_be_opened(name) and is_utf8(path)):
            raise VideoError(f"{shown(name)} can't be read as video; give a file, or an rtsp:// or https:// address")
        served = scheme_of(name) in SERVING
        return VideoFrames(shown(name), lambda: capture(name), bands, live=is_live(name), served=served)
    if is_dir(path):
        found = [inside for inside in path.iterdir() if inside.suffix.lower() in IMAGE_SUFFIXES]
    elif exists(path):
        if not is_utf8(path):
            raise VideoError(f"{name!r} has a name that is not UTF-8, which OpenCV can't open; rename it")
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return VideoFrames(name, lambda: capture(name), bands, live=False)
        found = [path]
    elif glob.has_magic(name):
        found = [Path(match) for match in glob.glob(name)]  # noqa: PTH207 -- the pattern may begin at the root
    else:
        raise VideoError(f"{name} does not exist; check the path")
    if not found:
        raise VideoError(f"{name} holds no image; give files that end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return ImageFiles(name, sorted(found, key=_as_people_count), bands)


def _as_people_count(path: Path) -> list[tuple[int, str]]:
    """Sort frame2 before frame10."""
    parts: Iterator[str] = iter(re.split(r"(\d+)", str(path)))
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]
