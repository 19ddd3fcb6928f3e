"""Frames that OpenCV reads: video files, cameras, streams on the network, image files."""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kda_edge.addresses import scheme_of
from kda_edge.errors import SceneError, UsageError, VideoError, one_line

from ..scenes.band_choice import RGB
from ..scenes.grey_images import require_colours
from ..scenes.image_file import where_valid
from .frames import Frame

OPENCV_ORDER: Final = ("blue", "green", "red")
TIMEOUT_MS: Final = 5000  # a source that says nothing for so long counts as lost; a choice, unmeasured
SAMPLED: Final = 16  # pixels, along both sides, of which one tells a frame from others
FASTEST_FPS: Final = 1000.0  # more is a clock's rate in the wrong field, as some cameras have it

_CHECK: Final = "check cable, address, password and network"


class _OpenCVChannels:
    """Channels as OpenCV gives them, blue, green, red, into the order of the model's bands."""

    def __init__(self, name: str, bands: Sequence[str]) -> None:
        if sorted(bands) != sorted(OPENCV_ORDER):
            raise UsageError(
                f"the model takes the bands {', '.join(bands)}, and {name} has red, green, blue; "
                "give the frames as arrays that hold the model's bands"
            )
        self.name = name
        self.notes: list[str] = []
        self._rgb = tuple(bands) == RGB
        self._order = [OPENCV_ORDER.index(band) for band in bands]

    def in_order(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels with their channels in the model's order."""
        if isinstance(image, np.ma.MaskedArray):
            return np.ma.masked_array(self.in_order(image.data), image.mask)  # one mask for all channels
        if self._rgb:
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return np.ascontiguousarray(image[..., self._order])


class VideoFrames(_OpenCVChannels):
    """A video file, a camera or a stream on the network."""

    def __init__(
        self, name: str, open_capture: Callable[[], Any], bands: Sequence[str], *, live: bool, served: bool = False
    ) -> None:
        """Open it.

        Args:
            name: for messages.
            open_capture: returns a `cv2.VideoCapture`.
            bands: names of the model's bands, in its order.
            live: whether it is taken for a live source; one that knows its number of frames is a recording.
            served: it comes over a protocol that serves files as well, so that its end may be a file's end.

        Raises:
            UsageError: the model's bands are not red, green and blue.
            VideoError: it can't be opened.
        """
        super().__init__(name, bands)
        self._open_capture, self._served = open_capture, served
        self._given = 0
        self._connection, self._ended = Connection(), set[Connection]()
        self.live, self.threaded = live, True
        self._capture = self._opened()
        declared, fps = (float(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        self._declared = int(declared) if 0 < declared < 2**53 else 0
        self.live = live and not self._declared
        self.fps: float | None = fps if 0 < fps <= FASTEST_FPS else None

    def read(self) -> Frame | None:
        """Return the next frame, (H, W, 3) uint8 in blue, green, red; None at the end, or where it was lost.

        Raises:
            VideoError: a recording without a single frame, or a file that was taken for live.
        """
        good, image = self._capture.read()
        if not self._counted(good, image):
            return None
        position_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        return Frame(image, position_ms / 1000 if not self.live and isfinite(position_ms) else None)

    def skip(self) -> bool:
        """Pass over a frame without converting it.

        Raises:
            VideoError: as `read` does.
        """
        return self._counted(self._capture.grab(), None)

    def reopen(self) -> None:
        """Open it, or open it again.

        Raises:
            VideoError: it can't be opened.
        """
        self.close()
        self._capture = self._opened()

    def close(self) -> None:
        """Let go of file, camera or connection."""
        self._capture.release()

    def _opened(self) -> Any:
        capture = self._open_capture()
        if not capture.isOpened():
            raise VideoError(f"{self.name} can't be opened; {_CHECK if self.live else _anew(self.name)}")
        return capture

    def _counted(self, good: bool, image: NDArray[Any] | None) -> bool:
        if good:
            self._given += 1
            self._connection = self._connection.after(image)
        elif self.live and self._served:
            self._require_stream()
        elif not self.live and self._given == 0:
            raise VideoError(f"{self.name} holds no frame that can be read; {_anew(self.name)}")
        elif not self.live and self._given < self._declared:
            self.notes.append(
                f"{self.name} says that it has {self._declared} frames and gave {self._given}; "
                "the file may be damaged or cut short"
            )
        return good

    def _require_stream(self) -> None:
        """Refuse a file that is served: begun anew whenever it is opened again, it would go on for ever.

        Raises:
            VideoError: it gave one frame and no other, or the very same frames again.
        """
        ended, self._connection = self._connection, Connection()
        one = ended.frames == 1 and not self._ended
        if one or ended in self._ended:
            what = "one frame and ends: a picture" if one else f"the same {ended.frames} frames again: a recording"
            raise VideoError(f"{self.name} gives {what}, no stream; save it to a file and give that")
        if ended.frames:
            self._ended.add(ended)


@dataclass(frozen=True)
class Connection:
    """What came of a source from its opening to its end.

    Attributes:
        frames: so many.
        crc: of some pixels of each that was looked at.
    """

    frames: int = 0
    crc: int = 0

    def after(self, image: NDArray[Any] | None) -> Connection:
        """Return it with a further frame; None: one that was passed over."""
        some = b"" if image is None else np.ascontiguousarray(image[::SAMPLED, ::SAMPLED]).data
        return Connection(self.frames + 1, zlib.crc32(some, self.crc))


class ImageFiles(_OpenCVChannels):
    """Image files, one frame each, opened one by one."""

    def __init__(self, name: str, paths: Sequence[Path], bands: Sequence[str]) -> None:
        super().__init__(name, bands)
        self._paths = iter(paths)
        self.live, self.threaded = False, True
        self.fps: float | None = None

    def read(self) -> Frame | None:
        """Return the next file's pixels, (H, W, 3), 8 or 16 bits as they are, in blue, green, red.

        A masked array where the file has pixels without data, as a scene has them: alpha, a nodata value, a mask.

        Raises:
            VideoError: a file can't be read, is damaged or grey; none is ever left out.
        """
        path = next(self._paths, None)
        if path is None:
            return None
        try:
            content = np.fromfile(path, np.uint8)
        except OSError as error:
            raise VideoError(f"{path} can't be read ({one_line(error)}); check the file") from error
        image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if content.size else None
        if image is None:
            raise VideoError(f"{path} is no image that can be read; copy it again, or take it out of the folder")
        try:
            require_colours(path)
            valid = where_valid(path)  # and whether it is whole, of which OpenCV does not tell
        except SceneError as error:
            raise VideoError(f"{error}, or take it out of the folder") from error
        if valid is None:
            return Frame(np.asarray(image))
        return Frame(np.ma.masked_array(image, np.broadcast_to(~valid[..., None], image.shape)))

    def skip(self) -> bool:
        """Pass over a file without opening it."""
        return next(self._paths, None) is not None

    def reopen(self) -> None:
        """Never asked for: it is not live."""

    def close(self) -> None:
        """Nothing is open."""


def _anew(name: str) -> str:
    """Return what to do about a recording that can't be read."""
    if scheme_of(name):
        return "download it and give the file"
    return f"if it should be a video, write it anew with: ffmpeg -i {shlex.quote(name)} -c:v libx264 again.mp4"


def capture(name: str) -> Any:
    """Return a `cv2.VideoCapture` of a file or an address; one that does not answer gives up after `TIMEOUT_MS`."""
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
    if cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends():
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, timeouts)
    return cv2.VideoCapture(name)  # an OpenCV of the system's, such as one with GStreamer only


def camera_capture(number: int) -> Any:
    """Return a `cv2.VideoCapture` of a camera that keeps no older frames than it must."""
    camera = cv2.VideoCapture(number)
    camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return camera
