"""An MP4 file of overlaid frames, counted when it is done: OpenCV's own writer says nothing of a full disk."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np

from kda_edge.errors import OutputError

from ..outputs.legend import Bytes

CODEC: Final = "mp4v"  # MPEG-4 part 2: the one for MP4 that OpenCV's wheels encode on every machine
MOST_REPEATS: Final = 600  # of one frame, a minute of a lost source at 10 a second; a longer gap is cut


class VideoWriter:
    """Writes frames of one size at a fixed pace.

    Attributes:
        notes: what a person should know of the file, a sentence each.
    """

    def __init__(self, path: Path, fps: float, *, by_time: bool) -> None:
        """Write to a file, which begins with the first frame.

        Args:
            path: ends in `.mp4`.
            fps: of the file.
            by_time: frames come unevenly and are shown as long as they lasted; else one after another.
        """
        self._path, self._fps, self._by_time = path, fps, by_time
        self._writer: Any = None
        self._size_wh = (0, 0)
        self._written = 0
        self._start_s = 0.0  # when the file's first frame was shown, moved on where a gap is cut
        self._shown: Bytes | None = None  # the frame that lasts until the next comes
        self._resized = self._cut = False
        self.notes: list[str] = []

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, picture: Bytes, timestamp_s: float) -> None:
        """Add a frame, (H, W, 3) in blue, green, red; one of another size than the first is scaled to that.

        Raises:
            OutputError: the file can't be begun.
        """
        if not self._by_time:
            self._put(picture)
            return
        if self._shown is None:
            self._start_s = timestamp_s
        else:
            due = int((timestamp_s - self._start_s) * self._fps + 1e-6) - self._written
            if due > MOST_REPEATS:
                self._start_s += (due - MOST_REPEATS) / self._fps
                self._cut, due = True, MOST_REPEATS
            for _ in range(due):
                self._put(self._shown)
        self._shown = picture

    def finish(self) -> None:
        """Write the file out and count its frames.

        Raises:
            OutputError: it does not hold what was written to it.
        """
        if self._shown is not None:
            self._put(self._shown)
        if self._writer is None:
            raise OutputError(f"{self._path.name} has no frame")
        self._writer.release()
        written = cv2.VideoCapture(str(self._path))
        count = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        good = count == self._written and written.read()[0]
        written.release()
        if not good:
            raise OutputError(
                f"the video in {self._path.parent} holds {count} of {self._written} frames; free some space there"
            )
        if self._resized:
            self.notes.append("frames of another size than the first were scaled to it in the video")
        if self._cut:
            self.notes.append("the video shows gaps shorter than they were; the JSON lines have the times")

    def _put(self, picture: Bytes) -> None:
        if self._writer is None:
            self._begin(picture)
        height_px, width_px = picture.shape[:2]
        if (even(width_px), even(height_px)) != self._size_wh:
            picture = np.asarray(cv2.resize(picture, self._size_wh, interpolation=cv2.INTER_AREA), np.uint8)
            self._resized = True
        elif (width_px, height_px) != self._size_wh:
            below, right = self._size_wh[1] - height_px, self._size_wh[0] - width_px
            picture = np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        self._writer.write(picture)
        self._written += 1

    def _begin(self, picture: Bytes) -> None:
        self._size_wh = even(picture.shape[1]), even(picture.shape[0])
        fourcc = cv2.VideoWriter.fourcc(*CODEC)
        self._writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, fourcc, self._fps, self._size_wh)
        if not self._writer.isOpened():
            raise OutputError(
                f"OpenCV can't write an MP4 of {self._size_wh[0]} x {self._size_wh[1]} px to {self._path.parent}; "
                "check space and rights there, and install opencv-python-headless"
            )


def even(side_px: int) -> int:
    """Return the side of a video's frame that holds side_px: an encoder cuts off an odd last row or column."""
    return side_px + side_px % 2
