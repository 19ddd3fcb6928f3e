"""`kda-infer` on addresses: rasters are mapped, streams are streams, and one line says what else is possible."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_videos import COLOURS, write_video
from fake_web_server import WebServer

from kda_edge.runtime.cli.infer import main, parse
from kda_edge.runtime.geo.raster_names import RasterAddress


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "www").mkdir()
    with WebServer(tmp_path / "www") as running:
        yield running


@pytest.fixture
def model(make_model: Callable[..., Path]) -> str:
    return str(make_model(1 / 255, 0.0))


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("scene.tif", Path),
        ("flight.mp4", str),
        ("/dev/video0", str),
        ("http://host/scene.tif", RasterAddress),
        ("https://host/tiles?id=3", RasterAddress),
        ("http://host/live", RasterAddress),
        ("http://host/photo.jpg", RasterAddress),
        ("s3://bucket/scene.tif", RasterAddress),
        ("zip://a.zip!scene.tif", RasterAddress),
        ("zip://a.mp4.zip!scene.tif", RasterAddress),
        ('NETCDF:"a.nc":rain', RasterAddress),
        ("http://host/flight.mp4?key=scene.tif", str),
        ("http://host/live.m3u8", str),
        ("http://host/cam/1.mjpg", str),
        ("rtsp://host/scene.tif", str),
        ("udp://@239.0.0.1:1234", str),
        ("srt://host:9000", str),
    ],
)
def test_an_address_is_a_video_only_by_its_scheme_or_its_suffix(word: str, kind: type) -> None:
    config = parse([word])
    assert [type(name) for name in (*config.scenes, *config.videos)] == [type(Path()) if kind is Path else kind]
    assert parse(["--video", word]).videos == (word,)


def test_the_address_of_a_file_is_its_path(
    scene: Any, tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = scene.path.rename(tmp_path / "my scène.tif")
    assert main([path.as_uri(), "--model", model]) == 0
    assert (tmp_path / "my scène_landslide.tif").exists()
    assert parse([(tmp_path / "flight.mp4").as_uri()]).videos == (str(tmp_path / "flight.mp4"),)
    assert capfd.readouterr().out.startswith(f"{path}: landslide on")


def test_scenes_at_addresses_are_mapped_beside_others_with_safe_names_and_no_secrets(
    server: WebServer, scene: Any, tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = scene.path.read_bytes()
    (tmp_path / "www" / "a & b;$(x).tif").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.write(scene.path, "inner.tif")
    server.behaves(login="me:s3cret")
    words = [
        server.url("a%20%26%20b%3B$(x).tif?token=t0ken", "me:s3cret"),
        server.url("gone.tif", "me:s3cret"),
        f"zip://{tmp_path}/pack.zip!inner.tif",
        str(scene.path),
    ]
    assert main([*words, "--model", model, "--json", "-o", str(tmp_path / "maps")]) == 1
    out, err = capfd.readouterr()
    names = {path.name for path in (tmp_path / "maps").iterdir() if path.suffix == ".tif"}
    assert names == {"a___b___x__landslide.tif", "inner_landslide.tif", "scene_landslide.tif"}
    results = [json.loads(line) for line in out.splitlines()]
    assert [result["scene"] for result in results] == [
        server.url("a%20%26%20b%3B$(x).tif"),
        server.url("gone.tif"),
        f"zip://{tmp_path}/pack.zip!inner.tif",
        str(scene.path),
    ]
    assert err.count("\n") == 1
    assert "s3cret" not in out + err
    assert "t0ken" not in out + err


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("http://me:pw@host/scene.tif?k=1", "http://host/scene.tif lies in no folder; say where its map goes with -o"),
        ('NETCDF:"a.nc":rain', "-o DIR"),
        ("foo://host/scene.tif", "GDAL reads no raster from foo://host/scene.tif"),
        ("file://server/scene.tif", "mount its folder"),
    ],
)
def test_what_an_address_lacks_is_one_line_before_any_work(
    word: str, words: str, scene: Any, model: str, leftovers: Callable[[], list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(scene.path), word, "--model", model]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err
    assert leftovers() == []


def test_an_address_that_is_no_raster_tells_how_to_have_it_taken_for_video(
    server: WebServer, tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "www" / "camera.mp4", [COLOURS[0]] * 4).rename(tmp_path / "www" / "camera")
    assert main([server.url("camera"), "--model", model, "-o", str(tmp_path / "out")]) == 1
    assert capfd.readouterr().err.endswith("; if it is video, add --video\n")
    assert main([server.url("camera"), "--video", "--model", model, "-o", str(tmp_path / "out")]) == 0
    assert "landslide in " in capfd.readouterr().out


def picture(path: Path, number: int) -> bytes:
    cv2.imwrite(str(path.with_suffix(".jpg")), np.full((48, 64, 3), 40 * number, np.uint8))
    return path.with_suffix(".jpg").read_bytes()


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (1, "gives one frame and ends: a picture, no stream; save it to a file and give that"),
        (5, "gives the same 5 frames again: a recording, no stream; save it to a file and give that"),
    ],
)
def test_a_file_that_is_taken_for_a_stream_ends_with_one_clear_line(
    server: WebServer, tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str], pictures: int, words: str
) -> None:
    """A stream of pictures names neither its number of frames nor its length, so that its end looks like a loss."""
    content = b"".join(picture(tmp_path / "p", number) for number in range(pictures))
    (tmp_path / "www" / "live").write_bytes(content)
    out = tmp_path / "out"
    assert main([server.url("live?k=t0ken"), "--video", "--model", model, "-o", str(out)]) == 1
    err = capfd.readouterr().err
    assert words in err.splitlines()[-1]
    assert "t0ken" not in err
    assert not any("t0ken" in path.name for path in out.iterdir())


def test_a_video_of_a_store_that_no_decoder_reads_is_one_line(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["s3://bucket/flight.mp4", "--model", model, "-o", str(tmp_path / "out")]) == 1
    assert "s3://bucket/flight.mp4 can't be read as video; give a file" in capfd.readouterr().err
