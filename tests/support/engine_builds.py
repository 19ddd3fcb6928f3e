"""Engines that cost nothing to build, and what a cache of them left on disk and in the log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kda_edge.runtime.tensorrt.build import Built
from kda_edge.runtime.tensorrt.precision_proof import LayerCounts


class Builder:
    """Counts how often it is asked; each engine has other bytes."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self) -> Built:
        self.builds += 1
        return Built(f"plan {self.builds}".encode() * 1000, LayerCounts(half=7, int8=self.builds), 61.5, "10.3.0")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert not any("\n" in message for message in found)
    caplog.clear()
    return found


def engine_files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != ".lock")
