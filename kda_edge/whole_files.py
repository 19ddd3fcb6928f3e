"""Files that are whole under their name or not there, whatever happens to the process that writes them."""

from __future__ import annotations

import math
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

PART: Final = ".part"  # ends the hidden names that files are written under


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a hidden name, flush it and give it its name; nobody but its owner may change it.

    Raises:
        OSError: the folder is missing, not writable or full; what was under the name is still there.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:  # noqa: PTH123 -- an open descriptor has no path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        with suppress(OSError):
            hidden.unlink()


def flush(path: Path) -> None:
    """Have the system write out a file, or a folder's names: a full disk shows now, a power cut changes nothing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes_at(folder: Path) -> float:
    """Return the free space of a folder's file system, bytes; infinite where the system does not say."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return math.inf
    return state.f_bavail * state.f_frsize if state.f_blocks else math.inf
