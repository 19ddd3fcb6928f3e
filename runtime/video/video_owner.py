"""Whose overlay and lines lie under a name: another recording's are not replaced unless somebody says so."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final

from kda_edge.errors import VideoError, one_line
from kda_edge.paths import exists

from ..outputs.map_owner import taken
from ..streams.source_names import is_live, is_url, shown

LOOKED_AT_BYTES: Final = 2**20  # at either end; no two recordings have the same, compressed as they are
LAST_LINE_BYTES: Final = 2**16  # at most, of the line of the whole


def recording_digest(name: str) -> str:
    """Return what a recording is known by: its size and both its ends; of an address what may be said of it.

    Empty for live sources: what they gave comes never again, and their outputs are named after the time.

    Raises:
        VideoError: the file can't be read.
    """
    if is_live(name):
        return ""
    if is_url(name):
        return hashlib.sha256(shown(name).encode(errors="replace")).hexdigest()
    try:
        with Path(name).open("rb") as file:
            first = file.read(LOOKED_AT_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - LOOKED_AT_BYTES, 0))
            return hashlib.sha256(b"%d %b %b" % (size, first, file.read())).hexdigest()
    except OSError as error:
        raise VideoError(f"{name} can't be read ({one_line(error)}); check the file") from error


def require_own_lines(lines: Path, video: Path, name: str) -> None:
    """Make sure that no overlay of another recording lies where one is to be written.

    Args:
        lines: of the overlay; its last one says what it is of.
        video: the overlay.
        name: of the recording.

    Raises:
        VideoError: the recording can't be read.
        OutputError: what is there is of another recording, or does not say of which.
    """
    if not (exists(lines) or exists(video)):
        return
    said = None
    try:
        with lines.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - LAST_LINE_BYTES, 0))
            said = json.loads(file.read().splitlines()[-1]).get("source_digest")
    except (OSError, ValueError, IndexError, AttributeError):
        pass  # not ours
    if said != recording_digest(name):
        raise taken(video, shown(name), known=said is not None)
