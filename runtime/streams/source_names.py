"""Names of sources of frames, read before any library is loaded: an address, a camera, a video, images."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

VIDEO_SUFFIXES: Final = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
IMAGE_SUFFIXES: Final = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # two letters or more: C:// is a drive
_CAMERA: Final = re.compile(r"/dev/video(\d+)")


def is_url(name: str) -> bool:
    """Whether a name is an address such as `rtsp://host/path`, not a path."""
    return _URL.match(name) is not None


def camera_of(name: str) -> int | None:
    """Return the number of the camera whose device a path is, such as `/dev/video0`; None: it is none."""
    found = _CAMERA.fullmatch(name)
    return int(found[1]) if found else None


def is_live(name: str) -> bool:
    """Whether frames come when they come: a camera's device or an address, unless it ends like a video file."""
    if is_url(name):
        return PurePosixPath(urlsplit(name).path).suffix.lower() not in VIDEO_SUFFIXES
    return camera_of(name) is not None


def is_video(name: str) -> bool:
    """Whether a name is that of a video, recorded or live, and not of a scene."""
    return is_url(name) or is_live(name) or Path(name).suffix.lower() in VIDEO_SUFFIXES


def shown(name: str) -> str:
    """Return a name as it may be logged and written to files: of an address neither user, password nor query."""
    if not is_url(name):
        return name
    parts = urlsplit(name)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def stem_of(name: str) -> str:
    """Return what a source's outputs are named after."""
    if not is_url(name):
        return Path(name).stem
    parts = urlsplit(name)
    words = PurePosixPath(parts.path).stem or parts.hostname or parts.scheme
    return re.sub(r"[^\w.-]", "_", words)
