"""Shards: shares of one scene for several machines, whole rows of the map's blocks, as even as can be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kda_edge.errors import JournalError, UsageError
from kda_edge.paths import exists

from ..map_format import BLOCK_PX
from ..mapping.rows import Rows
from ..outputs.map_owner import taken
from .journal import read_journal


@dataclass(frozen=True)
class Shard:
    """One share of a scene.

    Attributes:
        number: of this share, from 1 at the scene's top.
        count: shares in all.

    Raises:
        UsageError: a number outside 1 to count.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"there is no shard {self}; number them from 1/{max(self.count, 1)}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def suffix(self) -> str:
        """Return what tells the names of its files from others."""
        return f"shard-{self.number}-of-{self.count}"

    def rows(self, height_px: int) -> Rows:
        """Return its rows of a scene; none where there are fewer blocks than shards."""
        blocks = -(-height_px // BLOCK_PX)
        first, end = (blocks * done // self.count * BLOCK_PX for done in (self.number - 1, self.number))
        return Rows(min(first, height_px), min(end, height_px))


def shard_of(text: str) -> Shard:
    """Return the shard that is written `2/7`.

    Raises:
        UsageError: the text is none.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match is None:
        raise UsageError(f"{text!r} is no shard such as 2/7, the second of seven")
    return Shard(int(match[1]), int(match[2]))


def require_own_shard(rows_path: Path, scene: object, digest: str) -> None:
    """Make sure that no shard of another scene lies where one is to be written.

    Raises:
        OutputError: what is there is of another scene, or no shard.
    """
    if not exists(rows_path):
        return
    said = None
    try:
        with read_journal(rows_path) as journal:
            said = None if journal.header is None else journal.header.key.get("scene")
    except JournalError:
        pass  # no shard at all
    if said != digest:
        raise taken(rows_path, scene, known=said is not None)


def shard_path(map_path: Path, shard: Shard) -> Path:
    """Return where the finished rows of a shard of a map go."""
    return map_path.with_name(f"{map_path.stem}.{shard.suffix}.kda")
