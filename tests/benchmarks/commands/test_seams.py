"""`kda-bench seams` of the bundled student ends in figures by the schema, a marked row and three pictures."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import rasterio
from places import BUNDLED
from rasterio.windows import Window

from kda_edge.benchmarks.cli import main
from kda_edge.benchmarks.reporting.result import schema

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A part of the example scene with landslides in it."""
    place = tmp_path / "part.tif"
    with rasterio.open(BUNDLED / "example_scene.tif") as whole:
        window = Window(100, 200, 400, 340)
        with rasterio.open(place, "w", **(whole.profile | {"width": 400, "height": 340})) as part:
            part.write(whole.read(window=window))
    return place


def test_it_ends_with_a_table_a_json_and_three_pictures(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["seams", str(scene), "--engine", "cpu", "--overlaps", "32,64", "--weights", "cosine,linear"]
    words += ["--reference-step", "128"]
    report = tmp_path / "seams.json"
    assert main([*words, "--plots", str(tmp_path / "plots"), "--json", str(report)]) == 0
    result = json.loads(report.read_text())
    jsonschema.validate(result, schema())
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows == ["overlap, px", "32", "32", "64 (default)", "64"]
    flips = {
        (figure["of"]["overlap_px"], figure["of"]["weights"]): figure["value"]
        for figure in result["figures"]
        if figure["name"] == "reference.flips"
    }
    assert set(flips) == {(overlap, kind) for overlap in (32, 64) for kind in ("cosine", "linear")}
    assert all(0 < value < 0.2 for value in flips.values())
    assert result["settings"]["scene"] == "part.tif"
    assert len(result["series"]["tile alone: flips"]) == 128
    for name in ("seams.png", "seams_moved.png", "seams_map.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(PNG)


def test_weights_that_there_are_none_of_are_wrong_usage(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["seams", str(scene), "--weights", "hann"])
    assert ended.value.code == 2
    assert "'hann' is none of cosine" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--overlaps", "256"], ["--reference-step", "0"], ["--reference-step", "300"]])
def test_overlaps_and_steps_that_no_grid_has_are_errors(
    scene: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["seams", str(scene), "--engine", "cpu", *words]) != 0
    assert "choose an overlap from 0 to 255 px" in capsys.readouterr().err
