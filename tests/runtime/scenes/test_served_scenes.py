"""Scenes on a web server: mapped as files are, gone on with while they are the same, given up in one line."""

from __future__ import annotations

import logging
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_web_server import WebServer

from kda_edge.errors import Cancelled, JournalError, KdaEdgeError, SceneError, UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.geo.gdal import gdal_session, open_raster
from kda_edge.runtime.geo.raster_names import raster_named
from kda_edge.runtime.runs.journal import read_journal
from kda_edge.runtime.runs.merge_shards import merge_shards
from kda_edge.runtime.runs.shards import Shard
from kda_edge.runtime.scenes.scene_digest import digesting

LOGIN = "pilot:s3cret"
FIRST_BLOCKS = 40_000  # bytes of the scene below, from where servers misbehave: its header and first blocks are given


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of waiting goes before what the runtime says."""
    for name, value in {
        "GDAL_HTTP_LOW_SPEED_TIME": "1",
        "GDAL_HTTP_MAX_RETRY": "1",
        "GDAL_HTTP_RETRY_DELAY": "0.05",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "www").mkdir()
    return tmp_path / "www"


@pytest.fixture
def server(folder: Path) -> Iterator[WebServer]:
    with WebServer(folder) as running:
        yield running


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Iterator[Segmenter]:
    with Segmenter(identity, make_manifest()) as opened:
        yield opened


@pytest.fixture
def scene_file(folder: Path, scene_at: Callable[..., Any]) -> Path:
    """A scene of 300 x 260 px in blocks of 64 px, with a mask beside it."""
    image = np.random.default_rng(3).integers(1, 256, (300, 260, 3), np.uint8)
    valid = np.mgrid[:300, :260][1] >= 40
    blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    path: Path = scene_at(folder / "scene.tif", image, valid=valid, mask="sidecar", **blocks).path
    return path


def layers(path: Path) -> np.ndarray:
    with open_raster(path) as dataset:
        return np.asarray(dataset.read())


def cut_off(segmenter: Segmenter, scene: str, out: Path, at_tile: int = 60) -> None:
    """Have a run stopped after some rows."""
    calls: list[int] = []
    with pytest.raises(Cancelled):
        segmenter.predict_scene(
            scene, out, progress=lambda done, total: calls.append(done), cancel=lambda: at_tile in calls
        )


def test_a_served_scene_has_the_map_of_its_file_by_few_ranges(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path
) -> None:
    result = segmenter.predict_scene(server.url("scene.tif"), tmp_path / "served")
    wanted = segmenter.predict_scene(scene_file, tmp_path / "local")
    assert result.scene_path == server.url("scene.tif")
    assert result.map_path == tmp_path / "served" / "scene_landslide.tif"
    assert (result.valid_px, result.landslide_px, result.notes) == (wanted.valid_px, wanted.landslide_px, wanted.notes)
    assert result.valid_px == 300 * 220, "the mask beside it counts"
    assert np.array_equal(layers(result.map_path), layers(wanted.map_path))
    assert result.polygons_path.read_bytes() == wanted.polygons_path.read_bytes()
    assert result.picture_path.read_bytes() == wanted.picture_path.read_bytes()
    asked = [asked for asked in server.requests() if (asked["method"], asked["path"]) == ("GET", "/scene.tif")]
    assert asked
    assert all("Range" in request["headers"] for request in asked)


@pytest.mark.parametrize(
    "how",
    [{}, {"modified": False}, {"etag": "none"}, {"etag": "weak"}],
    ids=["ETag and time", "ETag", "time", "weak ETag and time"],
)
def test_a_run_that_was_cut_off_goes_on_while_the_scene_is_the_same(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    server.behaves(**how)
    url, out = server.url("scene.tif"), tmp_path / "out"
    cut_off(segmenter, url, out)
    result = segmenter.predict_scene(url, out)
    assert result.resumed_rows > 0
    whole = segmenter.predict_scene(url, tmp_path / "whole")
    assert result.map_path.read_bytes() == whole.map_path.read_bytes()
    cut_off(segmenter, url, tmp_path / "again")
    content = bytearray(scene_file.read_bytes())
    content[-1] ^= 1
    scene_file.write_bytes(content)
    time.sleep(1.1 if how.get("etag") else 0)  # a time of change is told in seconds
    scene_file.touch()
    with pytest.raises(JournalError, match=r"finished rows of another run \(scene was .* and is "):
        segmenter.predict_scene(url, tmp_path / "again")


def test_a_signature_that_was_renewed_does_not_cost_the_finished_rows(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path
) -> None:
    cut_off(segmenter, server.url("scene.tif?signature=old"), tmp_path / "out")
    result = segmenter.predict_scene(server.url("scene.tif?signature=new"), tmp_path / "out")
    assert result.resumed_rows > 0


def test_a_scene_of_which_the_server_says_nothing_is_mapped_but_not_gone_on_with(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path
) -> None:
    server.behaves(etag="none", modified=False)
    url, out = server.url("scene.tif"), tmp_path / "out"
    calls = list[int]()
    with pytest.raises(Cancelled, match="its rows are not kept, as nobody could tell whether the scene is") as caught:
        segmenter.predict_scene(url, out, progress=lambda done, _: calls.append(done), cancel=lambda: 60 in calls)
    assert "same command" not in str(caught.value)
    assert list(out.iterdir()) == []
    result = segmenter.predict_scene(url, out)
    assert (result.resumed_rows, result.failed_tiles) == (0, 0)
    with pytest.raises(SceneError, match="can't be told apart"):
        segmenter.predict_shard(url, Shard(1, 2), out)


def test_rows_are_not_given_up_where_the_server_says_for_once_nothing(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path
) -> None:
    url, out = server.url("scene.tif"), tmp_path / "out"
    cut_off(segmenter, url, out)
    server.behaves(etag="none", modified=False)
    with pytest.raises(JournalError, match="nobody can tell whether the scene is still the same; try again when its"):
        segmenter.predict_scene(url, out)
    server.behaves()
    assert segmenter.predict_scene(url, out).resumed_rows > 0


def test_rows_that_nobody_can_go_on_with_do_not_stop_the_next_run(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path
) -> None:
    """After a kill, which leaves them."""
    server.behaves(etag="none", modified=False)
    url, out, journal = server.url("scene.tif"), tmp_path / "out", tmp_path / "out" / ".scene_landslide.journal"
    kept = list[bytes]()

    def progress(done: int, total: int) -> None:
        if done == 60:
            kept.append(journal.read_bytes())

    segmenter.predict_scene(url, out, progress=progress)
    journal.write_bytes(kept[0])
    with read_journal(journal) as left:
        assert left.rows_px > 0
    assert segmenter.predict_scene(url, out).resumed_rows == 0


def test_shards_of_a_served_scene_make_its_map(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path
) -> None:
    url = server.url("scene.tif")
    for number in (1, 2):
        segmenter.predict_shard(url, Shard(number, 2), tmp_path / "shards")
    merged = merge_shards(url, [tmp_path / "shards"], tmp_path / "merged")
    whole = segmenter.predict_scene(url, tmp_path / "whole")
    assert merged.map_path.read_bytes() == whole.map_path.read_bytes()


def test_a_scene_that_is_replaced_while_it_is_mapped_ends_the_run(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path
) -> None:
    def replace(done: int, total: int) -> None:
        if done == 1:
            scene_file.write_bytes(scene_file.read_bytes() + b"!")

    with pytest.raises(SceneError, match=r"scene\.tif was changed while the scene was mapped") as caught:
        segmenter.predict_scene(server.url("scene.tif", LOGIN), tmp_path / "out", progress=replace)
    assert "s3cret" not in str(caught.value)
    assert not (tmp_path / "out" / "scene_landslide.tif").exists()


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"status_from": [503, FIRST_BLOCKS]}, id="errors"),
        pytest.param({"cut_from": FIRST_BLOCKS}, id="cut short"),
        pytest.param({"silent_from": FIRST_BLOCKS}, id="silence", marks=pytest.mark.slow),
        pytest.param(None, id="gone"),
    ],
)
def test_a_network_that_fails_ends_the_run_soon_and_it_goes_on_later(
    server: WebServer,
    segmenter: Segmenter,
    scene_file: Path,
    tmp_path: Path,
    how: dict[str, Any] | None,
) -> None:
    """Other than a damaged file: nothing is marked as lost, block after block."""
    url, out = server.url("scene.tif"), tmp_path / "out"
    cut_off(segmenter, url, out)
    if how is None:
        server.stop()
    else:
        server.behaves(**how)
    start_s = time.perf_counter()
    with pytest.raises(SceneError) as caught:
        segmenter.predict_scene(url, out)
    assert time.perf_counter() - start_s < 60
    assert "\n" not in str(caught.value)
    assert not (out / "scene_landslide.tif").exists()
    if how is not None:
        assert "rows are kept, run the same command again to go on" in str(caught.value)
        server.behaves()
        assert segmenter.predict_scene(url, out).resumed_rows > 0


@pytest.mark.parametrize(
    ("how", "name", "words"),
    [
        ({}, "nowhere.tif", "HTTP response code: 404"),
        ({"login": "other:login"}, "scene.tif", "HTTP response code: 401"),
        ({"ranges": False}, "scene.tif", "Range downloading not supported"),
        ({}, "page.html", "not recognized"),
        ({"silent_from": 0}, "scene.tif", "Cannot read"),
        ({}, "part.tif", ""),
    ],
)
def test_what_can_not_be_read_there_is_one_line_without_secrets(
    server: WebServer,
    segmenter: Segmenter,
    scene_file: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: dict[str, Any],
    name: str,
    words: str,
) -> None:
    caplog.set_level(logging.DEBUG, "kda_edge")
    (scene_file.parent / "page.html").write_text("<html>a page</html>")
    (scene_file.parent / "part.tif").write_bytes(scene_file.read_bytes()[:60_000])
    server.behaves(**how)
    with pytest.raises(KdaEdgeError) as caught:
        segmenter.predict_scene(server.url(f"{name}?token=t0ken", LOGIN), tmp_path / "out")
    message = str(caught.value)
    assert message.startswith(server.url(name))
    assert words in message
    assert "\n" not in message
    error: BaseException | None = caught.value
    while error is not None:  # as a program would log it, with what led to it
        assert "s3cret" not in f"{error!r}{caplog.text}"
        assert "t0ken" not in f"{error!r}{caplog.text}"
        error = error.__cause__
    assert list(tmp_path.rglob("*landslide*")) == []


def test_nothing_that_is_written_or_logged_holds_a_password_or_a_query(
    server: WebServer, segmenter: Segmenter, scene_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kda_edge")
    server.behaves(login=LOGIN)
    url, out = server.url("scene.tif?token=t0ken", LOGIN), tmp_path / "out"
    cut_off(segmenter, url, out)
    written = b"".join(path.read_bytes() for path in out.iterdir())
    result = segmenter.predict_scene(url, out)
    segmenter.predict_shard(url, Shard(1, 1), out)
    written += b"".join(path.read_bytes() for path in out.iterdir())
    for secret in ("s3cret", "t0ken", "pilot"):
        assert secret.encode() not in written
        assert secret not in f"{result!r}{caplog.text}"
        assert not any(secret in path.name for path in out.iterdir())


def test_an_address_needs_a_folder_for_its_outputs(segmenter: Segmenter) -> None:
    with pytest.raises(UsageError, match=r"^http://host/scene\.tif lies in no folder; say where .* -o DIR$"):
        segmenter.predict_scene("http://me:pw@host/scene.tif?key=1")


def test_the_sources_of_a_vrt_count_as_the_server_tells_them_apart(
    server: WebServer, scene_file: Path, folder: Path, tmp_path: Path
) -> None:
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="0">/vsicurl/'
        f"{server.url('scene.tif')}</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path = tmp_path / "a.vrt"
    path.write_text(f'<VRTDataset rasterXSize="260" rasterYSize="300">{bands}</VRTDataset>')

    def digest() -> str | None:
        with gdal_session(), digesting(path) as content:
            return content().sha256

    before = digest()
    assert before is not None
    assert digest() == before
    scene_file.write_bytes(scene_file.read_bytes() + b"!")
    assert digest() not in (before, None)
    server.behaves(etag="none", modified=False)
    assert digest() is None


def test_an_archive_on_a_server_is_read_by_windows_too(
    server: WebServer, segmenter: Segmenter, scene_file: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.make_archive(str(tmp_path / "a"), "zip", folder)
    shutil.move(tmp_path / "a.zip", folder / "a.zip")
    url = f"zip+{server.url('a.zip')}!scene.tif"
    cut_off(segmenter, url, tmp_path / "out")
    result = segmenter.predict_scene(url, tmp_path / "out")
    assert result.resumed_rows > 0
    wanted = segmenter.predict_scene(scene_file, tmp_path / "local")
    assert np.array_equal(layers(result.map_path), layers(wanted.map_path))


def test_two_scenes_in_one_archive_on_a_server_are_told_apart(
    server: WebServer, scene_file: Path, folder: Path
) -> None:
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        for name in ("one.tif", "two.tif"):
            archive.write(scene_file, name)
    digests = []
    for name in ("one.tif", "two.tif", "one.tif"):
        with gdal_session(), digesting(raster_named(f"zip+{server.url('two.zip')}!{name}")) as content:
            digests.append(content().sha256)
    assert None not in digests
    assert digests[0] == digests[2] != digests[1]


def test_servers_of_signed_addresses_that_only_let_read_are_understood(server: WebServer, scene_file: Path) -> None:
    """GDAL takes such by their query; what the runtime itself asks for is a byte, never a header alone."""
    with gdal_session(), digesting(raster_named(server.url("scene.tif"))) as content:
        known = content()
    server.requests()
    server.behaves(only_get=True)
    known.require_unchanged()
    assert {asked["method"] for asked in server.requests()} == {"GET"}
