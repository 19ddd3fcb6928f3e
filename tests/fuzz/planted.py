"""A target that goes wrong in each of the ways that there are; processes that are spawned import it by this name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np


class Planted:
    """A target that goes wrong in one of the ways that there are."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name

    def make(self, rng: np.random.Generator) -> tuple[str, bytes]:
        return ".bin", rng.bytes(8)

    def check(self, suffix: str, content: bytes) -> str:
        if self.name == "rasters":
            raise ZeroDivisionError("planted")
        if self.name == "journals":
            os._exit(7)
        if self.name == "shards":
            time.sleep(60)
        return "fine"


def planted(name: str, folder: Path) -> Planted:
    return Planted(name, folder)
