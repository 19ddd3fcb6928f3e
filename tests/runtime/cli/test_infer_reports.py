"""A report that can't be delivered never keeps a scene from its map."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def two_scenes(scene: Any, tmp_path: Path) -> list[str]:
    """The names of two scenes beside each other, the first with a letter that not every terminal has."""
    shutil.copy(scene.path, tmp_path / "überblick.tif")
    return ["überblick.tif", "scene.tif"]


def infer(words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = f"{sys.executable} -m kda_edge.runtime {words}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=os.environ | environment, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("redirected", "code"),
    [("2>&-", 0), (">&-", 1), (">/dev/full", 1), (">/dev/full 2>/dev/full", 1), (">&- 2>&- <&-", 1), ("-q >&-", 0)],
)
def test_both_scenes_are_mapped_though_nobody_hears_of_it(
    two_scenes: list[str], make_model: Callable[..., Path], tmp_path: Path, redirected: str, code: int
) -> None:
    run = infer(f"{' '.join(two_scenes)} --model {make_model(1 / 255, 0.0)} -o maps {redirected}", tmp_path)
    assert {path.name for path in (tmp_path / "maps").glob("*.tif")} == {
        "überblick_landslide.tif",
        "scene_landslide.tif",
    }
    assert run.returncode == code
    assert run.stderr == b""


def test_a_name_that_the_terminal_cannot_show_does_not_keep_the_next_scene_from_its_map(
    two_scenes: list[str], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    not_utf8 = os.fsdecode(b"bad\xff.tif")
    shutil.copy(tmp_path / "scene.tif", tmp_path / not_utf8)
    command = [sys.executable, "-m", "kda_edge.runtime", not_utf8, *two_scenes, "--model", make_model(1 / 255, 0.0)]
    run = subprocess.run(
        [*command, "-o", "maps"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    lines = run.stdout.decode("ascii").splitlines()
    assert [line.split(":")[0] for line in lines] == ["\\xfcberblick.tif", "scene.tif"]
    assert run.stderr.count(b"\n") == 1
    assert b"has a name that is not UTF-8" in run.stderr
    assert run.returncode == 1
