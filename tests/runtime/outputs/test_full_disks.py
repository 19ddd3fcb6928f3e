"""What a full disk leaves out is named as its reader knows it: no hidden name of a file at work is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from full_disks import room_for
from worlds import write_image

from kda_edge.runtime.cli.infer import main


@pytest.mark.parametrize("room_bytes", [10, 30_000, 102_400], ids=["journal", "map", "picture"])
def test_a_disk_without_room_is_told_by_the_folder_and_the_next_step(
    room_bytes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    write_image(tmp_path / "scene.png", noise)
    out = tmp_path / "maps"
    with room_for(room_bytes):
        assert main([str(tmp_path / "scene.png"), "-o", str(out), "-q", "--engine", "cpu"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"can't be written to {out} (" in line
    assert "choose another folder" in line
    assert ".part" not in line
