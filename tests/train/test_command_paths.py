"""Paths that `kda-train` can't ask for: one line, exit code 1."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from untrained_students import write_student
from worlds import write_image

from kda_edge.train.cli import main


@pytest.mark.parametrize("name", ["loop", "loop/x", "x" * 300, os.fsdecode(b"bad\xff"), "file/below"], ids=ascii)
@pytest.mark.parametrize(
    "words",
    [
        ["statistics", "--data", "{}"],
        ["statistics", "--data", "data.toml", "--data-root", "{}"],
        ["segment", "--data", "{}", "--out", "run"],
        ["segment", "--data", "data", "--out", "run", "--init", "{}"],
        ["segment", "--data", "data", "--out", "run", "--backbone", "{}"],
        ["segment", "--data", "data", "--out", "{}", "--variant", "nano", "--crop-px", "32", "--workers", "0"],
        ["distill", "--data", "{}", "--out", "run"],
        ["evaluate", "--data", "data", "--ckpt", "{}"],
        ["explain", "--image", "{}", "--at", "1", "1", "--model", "a=student.pt", "--out", "a.png"],
        ["explain", "--image", "data/images/0.png", "--at", "1", "1", "--model", "a={}", "--out", "a.png"],
    ],
    ids=lambda words: " ".join(words[:5:2]) + words[-1],
)
def test_a_path_that_can_not_be_asked_for_is_one_line_and_exit_1(
    words: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").touch()
    rng = np.random.default_rng(0)
    for number in range(3):
        write_image(Path(f"data/images/{number}.png"), rng.integers(0, 256, (40, 40, 3), np.uint8))
        write_image(Path(f"data/masks/{number}.png"), rng.integers(0, 2, (40, 40), np.uint8))
    Path("data.toml").write_text('[[source]]\nname = "a"\nimages = "data/images"\nmasks = "data/masks"\n')
    write_student(Path("student.pt"))
    assert main([word.format(name) for word in words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("kda-train: ")
    assert "Traceback" not in err
    assert not Path("run").exists()
