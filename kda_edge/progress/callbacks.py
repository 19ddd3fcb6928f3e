"""Callbacks that long work tells its progress to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

Progress: TypeAlias = Callable[[str, int, int], None]  # what is done, how much of it, and how much in all (0: unknown)

_T = TypeVar("_T")


def silent(label: str, done: int, total: int) -> None:
    """Show nothing."""


def counted(items: Sequence[_T], label: str, progress: Progress) -> Iterator[_T]:
    """Yield items, and tell how many of them are done."""
    progress(label, 0, len(items))
    for done, item in enumerate(items, start=1):
        yield item
        progress(label, done, len(items))
