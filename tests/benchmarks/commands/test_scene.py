"""`kda-bench scene` counts the tiles that kda-infer counts, and its phases share what they took together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from places import BUNDLED
from rasterio.windows import Window

from kda_edge.benchmarks.cli import main as bench
from kda_edge.benchmarks.commands.scene import Ground, Repeat, scene_figures, scene_table
from kda_edge.benchmarks.reporting.result import Result
from kda_edge.runtime.cli.infer import main as infer


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """The example scene with nothing in its left half: tiles without data."""
    place = tmp_path / "half.tif"
    shutil.copy(BUNDLED / "example_scene.tif", place)
    with rasterio.open(place, "r+") as dataset:
        dataset.write(
            np.zeros((3, dataset.height, dataset.width // 2), np.uint8),
            window=Window(0, 0, dataset.width // 2, dataset.height),
        )
    return place


def test_tiles_are_counted_as_kda_infer_counts_them(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer([str(scene), "-o", str(tmp_path), "--json", "--engine", "cpu"]) == 0
    counted = json.loads(capsys.readouterr().out)["tiles"]
    report = tmp_path / "scene.json"
    assert bench(["scene", str(scene), "--engine", "cpu", "--repeats", "1", "--json", str(report)]) == 0
    figures = {figure["name"]: figure["value"] for figure in json.loads(report.read_text())["figures"]}
    assert figures["tiles"] == counted
    assert 0 < figures["tiles.computed"] < counted


def test_shares_of_the_phases_add_up_to_the_whole_however_many_threads_there_are() -> None:
    """Four seconds of reading threads in a run of one second are no 400 %."""
    phases_s = {"read": 4.0, "prepare": 2.0, "infer": 1.0, "blend": 0.5, "write": 0.5, "vectorise": 0.0, "other": 0.0}
    repeat = Repeat(1.0, 1.0, 20, 19, {**phases_s, "wait": 9.0}, None)
    figures = scene_figures([repeat], Ground(512, 512, None, (1, 2, 3)), None)
    table = scene_table(Result("scene", {}, figures))
    shares = [line.split("|")[4].strip() for line in table.splitlines() if "| phase." in line]
    assert shares == ["50.0%", "25.0%", "12.5%", "6.2%", "6.2%", "0.0%", "0.0%"]
