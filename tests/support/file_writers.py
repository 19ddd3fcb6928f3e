"""The ways to write a file whole, behind one signature, for tests that all of them must pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kda_edge.whole_files import staged, write_first, write_whole


def write_staged(path: Path, content: bytes) -> None:
    """Write to the hidden file of `staged`."""
    with staged(path) as hidden:
        hidden.write_bytes(content)


WRITERS: list[Callable[[Path, bytes], None]] = [write_whole, write_first, write_staged]
REPLACING = [write_whole, write_staged]  # the others leave alone what is there
