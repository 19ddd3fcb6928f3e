"""Scenes that exist in memory only: with holes, with pixels that can't be read, and with a note of who reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from kda_edge.tiling.pixels import Pixels

TOPS = {"uint8": 255, "uint16": 65535, "float32": 1}
PATTERNS = ("none", "speckle", "cut", "stripe", "almost_all", "all")


@dataclass
class MadeSource:
    """A scene of noise, of which some pixels have no data and some are lost; both follow from the seed."""

    height_px: int
    width_px: int
    pattern: str = "none"
    lost_blocks: int = 0
    dtype: str = "uint8"
    seed: int = 0
    block_hw: tuple[int, int] = (1, 1)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        shape = self.height_px, self.width_px
        self.image = (rng.uniform(0.05, 1, (*shape, 3)) * TOPS[self.dtype]).astype(self.dtype)
        row, col = np.mgrid[: self.height_px, : self.width_px]
        self.valid = {
            "none": np.ones(shape, bool),
            "speckle": rng.random(shape) < 0.8,
            "cut": col * 2 + row > self.width_px,
            "stripe": (row // 40) % 2 == 0,
            "almost_all": (row == self.height_px // 2) & (col == self.width_px // 3),
            "all": np.zeros(shape, bool),
        }[self.pattern]
        self.lost = np.zeros(shape, bool)
        for _ in range(self.lost_blocks):
            top, left = rng.integers(0, self.height_px), rng.integers(0, self.width_px)
            self.lost[top : top + 9, left : left + 17] = True
        self.valid = self.valid & ~self.lost
        self.image[~self.valid] = 0

    @property
    def nodata(self) -> np.ndarray:
        return ~self.valid & ~self.lost

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        here = np.s_[row0:row1, col0:col1]
        lost = self.lost[here] if self.lost[here].any() else None
        return Pixels(self.image[here], self.valid[here], lost)


@dataclass
class Opener:
    """Opens a source again and again, and notes which threads opened, read and closed it."""

    source: Any
    opened: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        me = threading.get_ident()
        self.opened.append(me)

        def read(row0: int, row1: int, col0: int, col1: int) -> Pixels:
            assert threading.get_ident() == me, "a handle is used by the thread that opened it"
            pixels: Pixels = self.source.read(row0, row1, col0, col1)
            return pixels

        try:
            yield SimpleNamespace(
                read=read,
                height_px=self.source.height_px,
                width_px=self.source.width_px,
                block_hw=self.source.block_hw,
                warnings=self.source.warnings,
            )
        finally:
            self.closed.append(threading.get_ident())


def our_threads() -> list[str]:
    """Names of the threads that kda-edge has left running."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kda-edge")]


def position(tiles: np.ndarray) -> np.ndarray:
    """Answer by place and content, so that no two tiles agree; each tile as if it were alone."""
    ramp = np.add.outer(np.arange(tiles.shape[2]), np.arange(tiles.shape[3])) / (2 * tiles.shape[2])
    return ((np.abs(np.sin(tiles.sum(axis=1, keepdims=True))) + ramp) / 2).astype(np.float32)
