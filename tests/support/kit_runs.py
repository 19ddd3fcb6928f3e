"""A small kit in parts, and runs of the command that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kda_edge.benchmarks.kit import assemble
from kda_edge.whole_files import PART

GROUPS = {"lean": ("kitted_one",), "gpu": ("kitted_two.deep",), "train": ("kitted_big",)}


def run_assemble(tmp_path: Path, *words: str) -> int:
    """Install without importing anything: PyTorch, which is asked for too, takes seconds."""
    return assemble.main([str(tmp_path / "parts"), "--into", str(tmp_path / "kit"), "--no-check", *words])


def installed(tmp_path: Path) -> dict[str, bytes]:
    """Every file of the installation by its path, with its content."""
    kit = tmp_path / "kit"
    files = (
        path for path in kit.rglob("*") if path.is_file() and path.suffix != PART
    )  # a killed process may leave these
    return {path.relative_to(kit).as_posix(): path.read_bytes() for path in files}


def complaint(tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a run that must fail says, on its one line, having installed nothing that imports."""
    assert run_assemble(tmp_path, *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("assemble: ")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
