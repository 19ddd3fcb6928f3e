"""Names of sources of frames, read before any library is loaded: an address, a camera, a video, images."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final

from kda_edge.addresses import redacted, safe_name, scheme_of, stem_from

VIDEO_SUFFIXES: Final = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
IMAGE_SUFFIXES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
LIVE_SUFFIXES: Final = frozenset({".m3u8", ".mjpeg", ".mjpg", ".mpd", ".sdp"})  # of addresses
# Schemes over which nothing else comes but frames, and those over which anything may.
STREAMING: Final = frozenset(
    {"mms", "mmsh", "mmst", "rist", "rtmp", "rtmpe", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp"}
)
SERVING: Final = frozenset({"ftp", "http", "https"})
_CAMERA: Final = re.compile(r"/dev/video(\d+)")


def is_url(name: str) -> bool:
    """Whether a name is an address such as `rtsp://host/path`, not a path."""
    return bool(scheme_of(name))


def camera_of(name: str) -> int | None:
    """Return the number of the camera whose device a path is, such as `/dev/video0`; None: it is none."""
    found = _CAMERA.fullmatch(name)
    return int(found[1]) if found else None


def is_live(name: str) -> bool:
    """Whether frames come when they come: a camera's device or an address, unless it ends like a file."""
    if is_url(name):
        return scheme_of(name) in STREAMING or _suffix(name) not in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return camera_of(name) is not None


def is_video(name: str) -> bool:
    """Whether a name is that of a video, recorded or live, and not of a scene: by its scheme or its suffix."""
    if is_url(name):
        return scheme_of(name) in STREAMING or _suffix(name) in VIDEO_SUFFIXES | LIVE_SUFFIXES
    return is_live(name) or Path(name).suffix.lower() in VIDEO_SUFFIXES


def can_be_opened(name: str) -> bool:
    """Whether frames can come from an address: FFmpeg knows its scheme."""
    return scheme_of(name) in STREAMING | SERVING


def shown(name: str) -> str:
    """Return a name as it may be logged and written to files: of an address neither user, password nor query."""
    return redacted(name) if is_url(name) else name


def stem_of(name: str) -> str:
    """Return what a source's outputs are named after."""
    if not is_url(name):
        return Path(name).stem
    host = re.sub(r":\d*$", "", _host_and_path(name)[0])
    return stem_from(name, safe_name(host) or scheme_of(name))


def _suffix(name: str) -> str:
    return PurePosixPath(_host_and_path(name)[1]).suffix.lower()


def _host_and_path(name: str) -> tuple[str, str]:
    host, _, path = redacted(name).partition("://")[2].partition("/")
    return host, path
