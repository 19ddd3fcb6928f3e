"""A data set for runs that are only noted."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cas(tmp_path: Path) -> Path:
    """An empty folder: nothing reads it but kda-train."""
    (tmp_path / "cas").mkdir()
    return tmp_path / "cas"
