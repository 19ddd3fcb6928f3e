"""`kda-bench scene --engine instant` from command line to result."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import rasterio

from kda_edge.benchmarks import cli
from kda_edge.benchmarks.measuring.stage_samples import STAGES
from kda_edge.benchmarks.reporting.result import read_result, schema

SIDE_PX = 1024


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("host") / "scene.tif"
    pixels = np.random.default_rng(6).integers(1, 256, (3, SIDE_PX, SIDE_PX), np.uint8)
    profile = {"driver": "GTiff", "height": SIDE_PX, "width": SIDE_PX, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.Affine(0.5, 0, 4e5, 0, -0.5, 5e6)}
    with rasterio.open(path, "w", compress="deflate", **profile, **place) as scene:
        scene.write(pixels)
    return path


@pytest.mark.parametrize("engine", ["instant", "simulated:40"])
def test_the_host_s_stages_add_up_and_nobody_takes_them_for_a_model_s(
    engine: str, scene_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "host.json"
    assert cli.main(["scene", str(scene_path), "--engine", engine, "--repeats", "1", "--json", str(out)]) == 0
    jsonschema.validate(json.loads(out.read_text()), schema())
    result = read_result(out)
    whole = {figure.name: figure.value for figure in result.figures if not figure.of}
    stages = {figure.of["stage"]: figure.value for figure in result.figures if figure.name == "stage.processor"}
    assert result.settings["engine_used"] == f"{engine}: no model"
    assert result.models == []
    assert result.notes[0].startswith(f"{engine}: no model")
    assert capsys.readouterr().out.startswith(f"{engine}: no model\n")
    assert whole["throughput"] == pytest.approx(SIDE_PX**2 / 1e6 / whole["wall.p50"])
    assert whole["ratio.processor"] == pytest.approx(whole["processor.p50"] / whole["plain.processor"])
    assert set(stages) <= {*STAGES, "other"}
    assert 0.3 * whole["processor.p50"] < sum(stages.values()) < 3 * whole["processor.p50"]
    tiles_mpx = 5 * 5 * 256**2 / 1e6
    assert engine == "instant" or whole["engine.busy"] >= 0.040 * tiles_mpx / 4
    busy = [figure.value for figure in result.figures if figure.name == "stage.busy"]
    assert whole["longest.stage"] >= max(whole["engine.busy"], *busy)
    assert whole["ratio.longest"] > 0.3  # two readers may be busy at once
    (computed,) = result.estimates
    assert computed.method.startswith("a computation: ")


def test_pictures_of_phases_are_refused_in_a_line(scene_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scene", str(scene_path), "--engine", "instant", "--plots", "plots"]) == 2
    assert "--plots draws phases around a model" in capsys.readouterr().err
