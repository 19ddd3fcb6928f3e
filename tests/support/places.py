"""Folders that tests read from, found by `pyproject.toml`, so that a test may lie at any depth."""

from __future__ import annotations

from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
BUNDLED = ROOT / "runtime" / "bundled"
SHARED = ROOT.parent / "shared"  # real imagery and golden outputs; tests that need it skip where it is missing
