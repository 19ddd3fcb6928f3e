"""`kda-bench compare` and `kda-bench scene` from command line to result, with the bundled student on small scenes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import rasterio
from places import BUNDLED
from rasterio.errors import NotGeoreferencedWarning

from kda_edge.benchmarks import cli
from kda_edge.benchmarks.measuring.measured_scenes import some_rows
from kda_edge.benchmarks.reporting.result import read_result, schema
from kda_edge.runtime.geo.gdal import open_raster

STUDENT = str(BUNDLED / "student_lite0.onnx")
HEIGHT_PX, WIDTH_PX = 448, 256


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of 2 x 1 tiles in metres."""
    path = tmp_path_factory.mktemp("compare") / "scene.tif"
    pixels = np.random.default_rng(5).integers(1, 256, (3, HEIGHT_PX, WIDTH_PX), np.uint8)
    profile = {"driver": "GTiff", "height": HEIGHT_PX, "width": WIDTH_PX, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.Affine(0.5, 0, 4e5, 0, -0.5, 5e6)}
    with rasterio.open(path, "w", **profile, **place) as scene:
        scene.write(pixels)
    return path


def figures_of(path: Path) -> dict[tuple[str, ...], Any]:
    jsonschema.validate(json.loads(path.read_text()), schema())
    return {(figure.name, *map(str, figure.of.values())): figure.value for figure in read_result(path).figures}


def test_contestants_map_a_scene_in_processes_of_their_own_and_the_result_says_all_of_it(
    scene_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compare.json"
    words = ["compare", "--scene", str(scene_path), "--against", "engine-alone,ort-loop", "--engine", "cpu"]
    assert cli.main([*words, "--rounds", "2", "--batch", "1", "--threads", "1", "--json", str(out)]) == 0
    found = figures_of(out)
    for name in ("kda-infer", "engine-alone", "ort-loop"):
        assert found["tiles", name] == 2
        assert found["throughput", name] == pytest.approx(HEIGHT_PX * WIDTH_PX / 1e6 / found["wall.p50", name])
        assert found["memory.peak", name] > 50
    result = read_result(out)
    assert found["ratio", "kda-infer", "engine-alone"] == pytest.approx(
        found["wall.p50", "kda-infer"] / found["wall.p50", "engine-alone"]
    )
    assert found["ratio", "ort-loop", "kda-infer"] == pytest.approx(
        found["wall.p50", "ort-loop"] / found["wall.p50", "kda-infer"]
    )
    assert found["agreement.alone_max_steps", "ort-loop"] <= 1
    assert len(result.series["wall.kda-infer"]) == 2
    said = capsys.readouterr().out
    assert "bar: end to end at most 1.15 times the engine alone" in said
    assert "ort-loop: engine ONNX Runtime" in said
    assert result.settings["contestants"]["ort-loop"]["threads"] == 1


def test_artifacts_without_a_scene_are_compared_by_the_time_of_a_tile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, copy = tmp_path / "tiles.json", tmp_path / "copy.onnx"
    copy.write_bytes(Path(STUDENT).read_bytes())
    assert cli.main(["compare", STUDENT, str(copy), "--engine", "cpu", "--rounds", "1", "--json", str(out)]) == 0
    found = figures_of(out)
    assert 0.3 < found["ratio", "copy.onnx", "student_lite0.onnx"] < 3  # the same file
    assert "copy.onnx" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["compare", "--against", "monai"], "--scene"),
        (["compare", STUDENT], "nobody to be compared with"),
        (["compare", "--scene", "s.tif"], "nobody to be compared with"),
        (["compare", "--scene", "s.tif", "--against", "ort-loop", "--rounds", "0"], "--rounds"),
        (["compare", STUDENT, "other.onnx", "--batch", "0"], "--batch must be 1 or more"),
        (["compare", "--scene", "s.tif", "--against", "ort-loop,monai"], "--ckpt"),
        (["scene", "s.tif", "--repeats", "0"], "--repeats"),
    ],
)
def test_wrong_usage_is_told_in_a_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert why in capsys.readouterr().err


def test_a_scene_s_figures_add_up(scene_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scene.json"
    words = [
        "scene",
        str(scene_path),
        "--engine",
        "cpu",
        "--repeats",
        "2",
        "--plots",
        str(tmp_path),
        "--json",
        str(out),
    ]
    assert cli.main(words) == 0
    found = figures_of(out)
    wall_s = found["wall.p50",]
    assert found["throughput",] == pytest.approx(HEIGHT_PX * WIDTH_PX / 1e6 / wall_s)
    assert found["throughput.area",] == pytest.approx(HEIGHT_PX * WIDTH_PX * 0.25 / 1e6 / wall_s * 3600)
    assert found["tiles",] == 2
    assert read_result(out).settings["overlap_px"] == 64
    assert 0 < found["engine.busy",] <= 1
    assert found["phase.infer",] <= wall_s
    assert found["phase.other",] < 0.1 * wall_s  # or a module of the runtime is missing in phases.MODULES
    assert (tmp_path / "scene_phases.png").stat().st_size > 1000
    assert "km2/h" in capsys.readouterr().out


def test_an_overlap_of_nothing_is_used_and_recorded(scene_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "scene.json"
    words = ["scene", str(scene_path), "--engine", "cpu", "--repeats", "1", "--overlap", "0", "--json", str(out)]
    assert cli.main(words) == 0
    assert read_result(out).settings["overlap_px"] == 0


def test_rows_of_a_scene_keep_pixels_blocks_mask_and_place(scene_path: Path, tmp_path: Path) -> None:
    with open_raster(scene_path) as scene:
        whole, transform = scene.read(), scene.transform
    with open_raster(some_rows(scene_path, (100, 164), tmp_path / "rows.tif")) as part:
        assert (part.read() == whole[:, 100:164]).all()
        assert part.crs.to_epsg() == 32633
        assert (part.transform.c, part.transform.f) == (transform.c, transform.f - 50)
    masked = tmp_path / "masked.tif"
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 3, "dtype": "uint8"}
        with rasterio.open(masked, "w", tiled=True, blockxsize=16, blockysize=32, **profile) as scene:
            scene.write(whole[:, :40, :50])
            scene.write_mask(whole[0, :40, :50] > 99)
    with open_raster(some_rows(masked, (10, 40), tmp_path / "part.tif")) as part:
        assert ((part.dataset_mask() > 0) == (whole[0, 10:40, :50] > 99)).all()
        assert part.block_shapes[0] == (32, 16)
        assert part.transform.is_identity


@pytest.mark.parametrize("rows", [(0, 0), (5, 5), (-1, 4), (0, 449)])
def test_rows_that_are_not_there_are_refused(rows: tuple[int, int], scene_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="FIRST:END within 0:448"):
        some_rows(scene_path, rows, tmp_path / "rows.tif")
