from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from kda_edge import __version__
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.geo.gdal import open_raster

KDA_INFER = [sys.executable, "-m", "kda_edge.runtime"]


@pytest.fixture
def model(make_model: Callable[..., Path]) -> Path:
    """The identity engine as a file."""
    return make_model(1 / 255, 0.0)


def test_one_line_says_what_was_found(scene: Any, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(scene.path), "--model", str(model)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    share = (scene.image[..., 0][scene.valid] >= 127.5).mean()
    assert f"landslide on {share:.2%} of 4,900 px" in out
    assert str(scene.path.with_name("scene_landslide.tif")) in out


def test_json_is_one_object_a_scene_on_one_line(
    scene: Any, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.tif"
    assert main([str(scene.path), str(missing), "--model", str(model), "--json", "-o", str(tmp_path / "out")]) == 1
    out, err = capfd.readouterr()
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["scene"] == str(scene.path)
    assert Path(first["map"]).exists()
    assert Path(first["polygons_file"]).exists()
    assert Path(first["picture"]).exists()
    assert (first["height_px"], first["width_px"], first["valid_px"], first["failed_tiles"]) == (70, 90, 4900, 0)
    assert first["version"] == __version__
    assert second["scene"] == str(missing)
    assert "does not exist" in second["error"]
    assert err == f"kda-infer: {second['error']}\n"


def test_quiet_prints_nothing_but_errors(
    scene: Any, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(scene.path), "--model", str(model), "-q"]) == 0
    assert capfd.readouterr() == ("", "")
    assert main([str(tmp_path / "missing.tif"), "--model", str(model), "-q", "--json"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("kda-infer: ")


def test_every_option_reaches_the_map(
    tmp_path: Path, model: Path, scene_at: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    image = np.zeros((40, 40, 4), np.uint16)
    image[2:4, 2:4, 3] = image[20:30, 20:30, 3] = 1000
    path = scene_at(tmp_path / "s.tif", image).path
    out = tmp_path / "out"
    options = [
        "-o",
        str(out),
        "--bands",
        "4,1,1",
        "--value-range",
        "-1000",
        "1e3",
        "--min-area",
        "10",
        "--overlap",
        "0",
    ]
    assert main([str(path), "--model", str(model), "--json", *options]) == 0
    result = json.loads(capfd.readouterr().out)
    assert (result["tiles"], result["polygons"]) == (4, 1)
    with open_raster(out / "s_landslide.tif") as landslides:
        assert set(np.unique(landslides.read(2))) == {127, 254}


def gcp_only(path: Path) -> None:
    with open_raster(path, "r+") as dataset:
        points = [rasterio.control.GroundControlPoint(row, row % 7, 5, 6) for row in range(5)]
        dataset.gcps = (points, rasterio.CRS.from_epsg(32647))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("missing file", "does not exist"),
        ("not a raster", "is not a raster"),
        ("truncated", "copy it again"),
        ("too few bands", "too few bands"),
        ("wrong dtype", "--value-range"),
        ("GCP only", "gdalwarp -tps"),
        ("unwritable folder", "another folder"),
        ("missing model", "does not exist"),
        ("not an ONNX", "kda-export"),
        ("ONNX without our manifest", "no kda-edge manifest"),
        ("newer manifest", "pip install -U kda-edge"),
        ("a folder as scene", "is not a file"),
    ],
)
def test_every_bad_input_has_its_one_line_and_leaves_nothing(
    tmp_path: Path,
    scene_at: Callable[..., Any],
    make_model: Callable[..., Path],
    leftovers: Callable[[], list[str]],
    capfd: pytest.CaptureFixture[str],
    case: str,
    words: str,
) -> None:
    """Also at the level of the file descriptors: neither GDAL nor ONNX Runtime adds lines of its own."""
    path, out, model = tmp_path / "s.tif", tmp_path / "out", make_model()
    image = np.random.default_rng(0).integers(1, 256, (90, 80, 3), np.uint8)
    if case == "wrong dtype":
        image = image.astype(np.uint16)
    georeference = {"crs": None, "transform": None} if case == "GCP only" else {}
    scene_at(path, image[..., :2] if case == "too few bands" else image, **georeference)
    if case == "missing file":
        path.unlink()
    elif case == "not a raster":
        path.write_text("not a raster")
    elif case == "truncated":
        path.write_bytes(path.read_bytes()[:9000])
    elif case == "GCP only":
        gcp_only(path)
    elif case == "unwritable folder":
        out.write_text("a file")
    elif case == "a folder as scene":
        path = tmp_path
    elif case == "missing model":
        model = tmp_path / "nowhere.onnx"
    elif case == "not an ONNX":
        model = tmp_path / "not.onnx"
        model.write_text("hello")
    elif case == "ONNX without our manifest":
        model = make_model(manifest=None)
    elif case == "newer manifest":
        model = make_model(manifest='{"schema_version": 2000}')

    assert main([str(path), "--model", str(model), "-o", str(out)]) == 1
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert stderr.startswith("kda-infer: ")
    assert stderr.count("\n") == 1
    assert words in stderr
    assert leftovers() == []


def test_one_bad_scene_does_not_stop_the_others(
    scene: Any, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_text("not a raster")
    assert main([str(bad), str(scene.path), "--model", str(model)]) == 1
    out, err = capfd.readouterr()
    assert "bad.tif is not a raster" in err
    assert "scene_landslide.tif" in out
    assert scene.path.with_name("scene_landslide.tif").exists()


def test_failed_tiles_are_an_error_but_the_map_is_there(
    tmp_path: Path, make_model: Callable[..., Path], scene_at: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Tiling rule 19: a model whose answer to a dark pixel is no probability."""
    image = np.full((100, 100, 3), 200, np.uint8)
    image[50, 50] = 1
    path = scene_at(tmp_path / "s.tif", image).path
    assert main([str(path), "--model", str(make_model(1 / 100, -1.2))]) == 1
    out, err = capfd.readouterr()
    assert "of 16 tiles failed (output from -1.19" in err
    assert err.count("\n") == 1
    assert "qa bit 8" in out
    assert main([str(path), "--model", str(make_model(1 / 100, -1.2)), "--strict", "-o", str(tmp_path / "none")]) == 1
    assert "leave out --strict to map the rest" in capfd.readouterr().err
    assert not (tmp_path / "none" / "s_landslide.tif").exists()
    with open_raster(tmp_path / "s_landslide.tif") as landslides:
        classes, _, qa = landslides.read()
        assert (classes == 255).any()
        assert (classes == 1).any()
        assert ((qa[classes == 255] & 8) > 0).all()


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["s.tif", "--bands", "1,2"],
        ["s.tif", "--bands", "1,2,x"],
        ["s.tif", "--bands", "0,1,2"],
        ["s.tif", "--value-range", "5", "nan"],
        ["s.tif", "--min-area", "-3"],
        ["s.tif", "--overlap", "-3"],
        ["s.tif", "--overlap", "a"],
        ["s.tif", "--nonsense"],
        ["s.tif", "--shard", "0/3"],
        ["s.tif", "--shard", "3"],
        ["s.tif", "--max-memory", "much"],
        ["s.tif", "--polygons", "shp"],
        ["merge"],
        ["merge", "s.tif"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two_and_the_usage(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert capfd.readouterr().err.startswith("usage: kda-infer")


def test_arguments_that_clash_exit_with_two_before_any_work(
    scene: Any, model: Path, leftovers: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(scene.path)
    assert main([path, "--value-range", "5", "2"]) == 2
    assert main([path, path, "--model", str(model)]) == 2
    assert main([path, str(scene.path.with_name("scene_landslide.tif")), "--model", str(model)]) == 2
    geopackage = str(scene.path.with_name("scene_landslide.gpkg"))
    assert main([path, geopackage, "--polygons", "gpkg", "--model", str(model)]) == 2
    assert main([path, "--overlap", "500", "--model", str(model)]) == 2
    assert main([path, "--shard", "1/2", "--min-area", "5", "--model", str(model)]) == 2
    assert main([path, "--max-memory", "1M", "--model", str(model)]) == 2
    assert capfd.readouterr().err.count("kda-infer: ") == 7
    assert leftovers() == []


def test_a_scene_called_as_a_command_is_a_scene_behind_its_folder(
    scene: Any, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = scene.path.rename(scene.path.with_name("merge"))
    assert main([str(path), "--model", str(model)]) == 0
    assert path.with_name("merge_landslide.tif").exists()
    assert "merge_landslide.tif" in capfd.readouterr().out


def test_help_and_version_wait_for_neither_gdal_nor_onnx_runtime() -> None:
    script = (
        "import sys; from kda_edge.runtime.cli.infer import main\n"
        "try: main([sys.argv[1]])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'rasterio', 'onnxruntime', 'cv2', 'numpy'} & set(sys.modules)"
    )
    for option, words in (("--help", "Example: kda-infer valley.tif"), ("--version", f"kda-infer {__version__}")):
        run = subprocess.run([sys.executable, "-c", script, option], capture_output=True, text=True, check=True)
        assert words in run.stdout


def test_a_terminal_gets_a_bar_that_leaves_no_trace_and_a_pipe_gets_none(scene: Any, model: Path) -> None:
    master, slave = pty.openpty()
    command = [*KDA_INFER, str(scene.path), "--model", str(model)]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=slave, check=True)
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert "\rscene.tif [" in shown
    assert "12/12 tiles" in shown
    assert shown.endswith("\r\x1b[K")
    assert "\n" not in shown
    assert run.stdout.count(b"\n") == 1
    piped = subprocess.run(command, capture_output=True, check=True)
    assert piped.stderr == b""


def test_a_reader_that_goes_away_is_no_traceback(scene: Any, model: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [*KDA_INFER, str(scene.path), "--model", str(model)]
    run = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (run.returncode, run.stderr) == (1, "")
