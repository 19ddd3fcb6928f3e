"""Addresses such as `https://host/scene.tif`: what they are, and what of them may be said.

Users, passwords and queries (which hold keys and signatures) never reach a message, a log, a file or a file's name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from kda_edge.errors import UsageError

MOST_STEM_BYTES: Final = 120  # of a name of 255, which also takes what outputs and their hidden copies append

_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)  # two letters or more: C:// is a drive
_FILE: Final = re.compile(r"file:(?://(?P<host>[^/]*)(?=/)|(?!//))(?P<path>/.*)", re.IGNORECASE | re.DOTALL)
_HOST: Final = re.compile(r"[\w+.-]+://[^/!]*(?=/|$)")
_USER: Final = re.compile(r"(?<=://)[^/\s]*@")  # a password may hold an @, quotes and question marks
_QUERY: Final = re.compile(r"(?<=\S)\?[^\s'\"]+|(?<=://)(?P<kept>[^\s'\"#?]*)#[^\s'\"]*")
_SECRET: Final = re.compile(r"\b(password|passwd|pwd|user)=('[^']*'|\S*)", re.IGNORECASE)  # of databases


def scheme_of(name: str) -> str:
    """Return the scheme of an address, in small letters; empty where a name is none."""
    found = _SCHEME.match(name)
    return found[1].lower() if found else ""


def redacted(text: str) -> str:
    """Return a text, such as an address or a message that names some, without users, passwords and queries."""
    return _SECRET.sub(r"\1=...", _QUERY.sub(r"\g<kept>", _USER.sub("", text)))


def anonymous(text: str) -> str:
    """Return an address without users and passwords; queries stay, which may say what is meant."""
    return _SECRET.sub(r"\1=...", _USER.sub("", text))


def path_from_file_url(name: str) -> Path | None:
    """Return the path that `file:///folder/scene%201.tif` means; None: a name of another kind.

    Raises:
        UsageError: it lies on another machine.
    """
    found = _FILE.fullmatch(name)
    if found is None:
        if name.lower().startswith("file:"):
            raise UsageError(f"{redacted(name)} is no address of a file; give file:///folder/name, or the path alone")
        return None
    if (found["host"] or "").lower() not in ("", "localhost"):
        raise UsageError(f"{redacted(name)} lies on another machine; mount its folder here and give the path")
    return Path(os.fsdecode(unquote_to_bytes(found["path"])))


def stem_from(name: str, instead: str) -> str:
    """Return what files may be called after an address: a safe file name without a suffix.

    Args:
        name: the address, whose last words count.
        instead: where it has none.
    """
    last = re.split(r"[/!]", _HOST.sub("", unquote(redacted(name))).rstrip("/!"))[-1]
    return safe_name(PurePosixPath(last).stem) or instead


def safe_name(words: str) -> str:
    """Return words as part of a file's name, not too long and not hidden; empty where nothing of them can be one."""
    safe = re.sub(r"[^\w.-]", "_", words).lstrip(".-")
    return safe.encode(errors="replace")[:MOST_STEM_BYTES].decode(errors="ignore").rstrip(".")
