"""Paths that can't be asked for: a line each, and the other scenes get their maps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_videos import COLOURS, write_video

from kda_edge.errors import KdaEdgeError
from kda_edge.runtime import Segmenter, merge_shards
from kda_edge.runtime.cli.infer import main

LONG, NUL, NOT_UTF8 = "x" * 300, "nul\0", os.fsdecode(b"bad\xff")
BAD = {"loop": "loop", "below a loop": "loop/x", "long": LONG, "NUL": NUL, "not UTF-8": NOT_UTF8, "below a file": "f/x"}


@pytest.fixture
def model(make_model: Callable[..., Path]) -> str:
    return str(make_model(1 / 255, 0.0))


@pytest.fixture
def here(tmp_path: Path, scene: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `scene.tif`, with a link to itself, a file, and a copy of the scene whose name is not UTF-8."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("f").write_text("a file")
    shutil.copy("scene.tif", NOT_UTF8)
    return tmp_path


def the_line(capfd: pytest.CaptureFixture[str]) -> str:
    err = capfd.readouterr().err
    assert err.startswith("kda-infer: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("bad", BAD)
def test_a_scene_that_can_not_be_asked_for_is_a_line_and_the_others_are_mapped(
    bad: str, here: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for out in ([], ["-o", "maps"]):
        assert main([BAD[bad], "scene.tif", "--model", model, *out]) == 1
        assert "right to read" not in the_line(capfd)
    assert Path("scene_landslide.tif").exists()
    assert Path("maps/scene_landslide.tif").exists()


@pytest.mark.parametrize("bad", BAD)
def test_an_output_folder_that_can_not_be_asked_for_is_a_line(
    bad: str, here: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if bad == "not UTF-8":
        Path(NOT_UTF8).unlink()
    write_video(here / "flight.mp4", [COLOURS[0]] * 3)
    for name in ("scene.tif", "flight.mp4"):
        assert main([name, "--model", model, "-o", BAD[bad]]) == 1
        assert the_line(capfd).endswith("choose another folder with -o\n")
    assert list(here.rglob("*landslide*")) == []


@pytest.mark.parametrize("bad", BAD)
def test_a_model_shards_or_a_video_that_can_not_be_asked_for_are_a_line(
    bad: str, here: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    name = BAD[bad]
    for words in (
        ["scene.tif", "--model", name],
        ["merge", "scene.tif", "--shards", name],
        ["--video", name, "--model", model],
        [f"{name}.mp4", "--model", model],
    ):
        assert main(words) == 1
        the_line(capfd)
    assert list(here.rglob("*landslide*")) == []


def test_a_video_whose_name_is_not_utf8_does_not_end_the_process(here: Path, model: str) -> None:
    """OpenCV crashes at such a name."""
    write_video(here / "good.mp4", [COLOURS[0]] * 3)
    name = os.fsdecode(b"bad\xff.mp4")
    shutil.copy("good.mp4", name)
    command = [sys.executable, "-m", "kda_edge.runtime", name, "good.mp4", "--model", model]
    run = subprocess.run(command, cwd=here, capture_output=True, check=False)
    assert run.returncode == 1
    assert b"good_landslide.mp4" in run.stdout
    assert run.stderr.count(b"\n") == 1
    assert b"has a name that is not UTF-8, which OpenCV can't open; rename it" in run.stderr


def test_a_model_whose_name_is_not_utf8_is_a_line_for_every_engine(
    here: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(model, NOT_UTF8 + ".onnx")
    for engine in ("auto", "cpu", "openvino"):
        assert main(["scene.tif", "--model", NOT_UTF8 + ".onnx", "--engine", engine]) == 1
        assert "has a name that is not UTF-8" in the_line(capfd)


@pytest.mark.parametrize("bytes_long", [200, 201, 230, 251])
def test_a_scene_whose_name_is_too_long_for_its_outputs_is_told_by_how_much(
    here: Path, model: str, capfd: pytest.CaptureFixture[str], bytes_long: int
) -> None:
    """With two bytes a letter: it is bytes that count. What is said helps."""
    stem = ("ü" * 200).encode()[: bytes_long - bytes_long % 2].decode() + "x" * (bytes_long % 2)
    shutil.copy("scene.tif", f"{stem}.tif")
    same = ["--model", model, "--polygons", "gpkg", "-o", "maps"]
    code = main([f"{stem}.tif", "scene.tif", *same])
    said = capfd.readouterr()
    assert Path("maps/scene_landslide.tif").exists()
    if code == 0:
        assert bytes_long < 210
        assert Path(f"maps/{stem}_landslide.tif").exists()
        return
    assert (code, said.err.count("\n")) == (1, 1)
    excess = int(said.err.split(" bytes too long")[0].rpartition(" ")[2])
    shorter = stem.encode()[: bytes_long - excess].decode(errors="ignore")
    Path(f"{stem}.tif").rename(f"{shorter}.tif")
    assert main([f"{shorter}.tif", *same]) == 0


def test_the_same_of_python_is_an_error_of_ours(here: Path, model: str) -> None:
    with Segmenter.open(model) as segmenter:
        for name in BAD.values():
            for call in (
                lambda name=name: segmenter.predict_scene(name, "maps"),
                lambda name=name: segmenter.predict_scene(Path(name), "maps"),
                lambda name=name: segmenter.predict_scene("scene.tif", Path("loop") / name),
                lambda name=name: merge_shards(name, ["maps"], "maps"),
                lambda name=name: merge_shards("scene.tif", [name], "maps"),
                lambda name=name: segmenter.stream(name + ".mp4"),
            ):
                with pytest.raises(KdaEdgeError) as caught:
                    call()
                assert "\n" not in str(caught.value)
    for name in BAD.values():
        with pytest.raises(KdaEdgeError):
            Segmenter.open(name)
