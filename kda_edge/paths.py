"""Questions about paths that never raise: what can't be a path, or can't be looked at, is not there; the user's cache.

`Path` itself raises where a name is too long, holds a NUL or links to itself, each in its own way and version.
"""

from __future__ import annotations

import os
from pathlib import Path


def exists(path: Path) -> bool:
    """Whether something is there."""
    return os.path.exists(path)  # noqa: PTH110 -- the point of this module


def is_file(path: Path) -> bool:
    """Whether a file is there."""
    return os.path.isfile(path)  # noqa: PTH113 -- the point of this module


def is_dir(path: Path) -> bool:
    """Whether a folder is there."""
    return os.path.isdir(path)  # noqa: PTH112 -- the point of this module


def same_file(one: Path, other: Path) -> bool:
    """Whether both are there and one file."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def resolved(path: Path) -> Path:
    """Return the absolute path without links, as far as they can be followed."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # of a circle of links Python tells by RuntimeError up to 3.12
        return Path(os.path.abspath(path))  # noqa: PTH100 -- follows nothing


def is_utf8(path: Path) -> bool:
    """Whether a path's name is UTF-8: libraries that take no other may end the process instead of saying so."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def cache_folder() -> Path:
    """Return the folder of the user's cache: $KDA_EDGE_CACHE, else $XDG_CACHE_HOME/kda-edge, else ~/.cache/kda-edge."""
    own, common = os.environ.get("KDA_EDGE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    # The XDG rule: a relative path is to be ignored.
    return (Path(common) if common and Path(common).is_absolute() else Path.home() / ".cache") / "kda-edge"
