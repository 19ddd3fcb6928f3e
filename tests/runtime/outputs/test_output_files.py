from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from kda_edge.errors import OutputError, UsageError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.outputs.map_geotiff import map_writer
from kda_edge.runtime.outputs.output_files import output_paths, require_no_clash, staged
from kda_edge.runtime.scenes.scene import open_scene

# A run that stops in the middle of its scene, says so, and waits to be killed.
HANGING_RUN = """
    import sys, time
    from kda_edge.manifest import Manifest
    from kda_edge.runtime import Segmenter

    def engine(tiles, calls=[]):
        calls.append(1)
        if len(calls) == 5:
            print("half-way", flush=True)
            time.sleep(600)
        return tiles[:, :1] / 255

    Segmenter(engine, Manifest.from_json(sys.argv[1])).predict_scene(sys.argv[2])
"""


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


def test_a_killed_run_leaves_nothing_under_the_final_names_and_the_next_run_tidies_up(
    scene: Any, make_manifest: Callable[..., Manifest], leftovers: Callable[[], list[str]]
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HANGING_RUN), make_manifest().to_json(), str(scene.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "half-way\n"
        during = leftovers()
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert leftovers() == during
    assert during
    assert all(Path(name).name.startswith(".") for name in during)

    Segmenter(identity, make_manifest()).predict_scene(scene.path)
    assert leftovers() == ["scene_landslide.geojson", "scene_landslide.png", "scene_landslide.tif"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, MemoryError])
def test_a_run_stopped_at_its_end_leaves_an_older_map_as_it_was(
    scene: Any,
    make_manifest: Callable[..., Manifest],
    leftovers: Callable[[], list[str]],
    stop: type[BaseException],
) -> None:
    result = Segmenter(identity, make_manifest()).predict_scene(scene.path)
    before = {path: path.read_bytes() for path in (result.map_path, result.polygons_path, result.picture_path)}

    def stopping(done: int, total: int) -> None:
        if done == total:
            raise stop

    with pytest.raises(stop):
        Segmenter(lambda tiles: 1 - identity(tiles), make_manifest()).predict_scene(scene.path, progress=stopping)
    assert {path: path.read_bytes() for path in before} == before
    assert len(leftovers()) == 4  # with the record of finished rows


def test_only_what_dead_runs_of_this_scene_left_is_removed(scene: Any, make_manifest: Callable[..., Manifest]) -> None:
    folder = scene.path.parent
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    stale = [
        f".scene_landslide.{pid}-0123abcd.part.{kind}" for pid in (dead.pid, os.getpid()) for kind in ("tif", "png")
    ]
    kept = [
        f".scene_landslide.{os.getppid()}-0123abcd.part.tif",  # alive
        f".other_landslide.{dead.pid}-0123abcd.part.tif",
        f".scene_landslide_landslide.{dead.pid}-0123abcd.part.tif",
        ".scene_landslide.tif",
    ]
    for name in (*stale, *kept):
        (folder / name).write_bytes(b"")
    Segmenter(identity, make_manifest()).predict_scene(scene.path)
    assert not [name for name in stale if (folder / name).exists()]
    assert [name for name in kept if not (folder / name).exists()] == []


# Bytes that a file can have: none, less than a header, less than the first record of rows, less than the map or the
# picture.
FULL_AT = [(0, False), (8, False), (100, False), (3000, False), (60_000, True), (150_000, True)]


@pytest.mark.parametrize(("limit_bytes", "kept"), FULL_AT)
def test_a_full_disk_is_one_line_and_an_older_map_stays(
    tmp_path: Path,
    scene_at: Callable[..., Any],
    make_model: Callable[..., Path],
    leftovers: Callable[[], list[str]],
    limit_bytes: int,
    kept: bool,
) -> None:
    """No space for the first byte, for the blocks, for what is written at closing; rows that had space are kept."""
    image = np.random.default_rng(0).integers(1, 256, (300, 300, 3), np.uint8)
    path = scene_at(tmp_path / "s.tif", image).path
    (tmp_path / "s_landslide.tif").write_bytes(b"older")
    script = (
        "import resource, sys; from kda_edge.runtime.cli.infer import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes})); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, str(path), "--overwrite", "--model", str(make_model(1 / 255, 0.0))]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout == ""
    (last,) = run.stderr.splitlines()
    assert last.startswith("kda-infer: ")
    assert "can't be written" in last
    assert "free some space" in last
    assert "Traceback" not in run.stderr
    assert ("rows are kept, run the same command again to go on" in last) == kept
    assert leftovers() == [".s_landslide.journal"] * kept + ["s_landslide.tif"]
    assert (tmp_path / "s_landslide.tif").read_bytes() == b"older"


@pytest.mark.parametrize("limit_bytes", [0, 8, 200, 20_000, 100_000, 280_000])
def test_no_library_prints_what_goes_wrong_with_a_map_at_a_full_disk(
    tmp_path: Path, scene_at: Callable[..., Any], limit_bytes: int
) -> None:
    """Creating it, its blocks, its directories, its overviews."""
    path = scene_at(tmp_path / "s.tif", np.ones((600, 600, 3), np.uint8)).path
    script = f"""
        import resource, sys
        import numpy as np
        from kda_edge.errors import OutputError
        from kda_edge.manifest import InputContract
        from kda_edge.runtime.geo.gdal import gdal_session
        from kda_edge.runtime.outputs.map_geotiff import map_writer
        from kda_edge.runtime.scenes.scene import open_scene
        from pathlib import Path

        layers = np.random.default_rng(0).integers(0, 255, (3, 600, 600), np.uint8)
        with gdal_session(), open_scene(Path(sys.argv[1]), InputContract()) as scene:
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))
            try:
                with map_writer(Path("map.tif"), scene, {{"a": "b"}}) as writer:
                    writer.write(layers)
                    writer.finish()
            except OutputError as error:
                print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1
    assert "free some space" in run.stdout


def test_a_disk_that_is_filling_up_is_seen_before_it_is_full(scene: Any, tmp_path: Path) -> None:
    with (
        gdal_session(),
        open_scene(scene.path, InputContract()) as source,
        map_writer(tmp_path / "map.tif", source, {}, free_bytes=lambda folder: 60_000) as writer,
    ):
        writer.write(np.full((3, 70, 90), 7, np.uint8))
        with pytest.raises(OutputError, match=r"has 0.1 MB left and .* may need 0.1 MB; free some space") as caught:
            writer.finish()
    assert "\n" not in str(caught.value)


def test_a_map_that_does_not_hold_what_was_written_is_refused(scene: Any, tmp_path: Path) -> None:
    path = tmp_path / "map.tif"

    def spoil() -> None:
        with rasterio.open(path, "r+") as dataset:
            dataset.write(np.array([[8]], np.uint8), 2, window=((69, 70), (89, 90)))

    with (
        gdal_session(),
        open_scene(scene.path, InputContract()) as source,
        map_writer(path, source, {}) as writer,
    ):
        writer.write(np.full((3, 70, 90), 7, np.uint8))
        writer.finish()
        writer.verify()
        spoil()
        with pytest.raises(OutputError, match="other bytes"):
            writer.verify()


def test_a_crs_that_no_geotiff_holds_is_refused_before_any_work(
    tmp_path: Path,
    scene_at: Callable[..., Any],
    make_manifest: Callable[..., Manifest],
    leftovers: Callable[[], list[str]],
) -> None:
    """Tiling rule 17: GDAL would put it into a sidecar of the hidden file and lose it."""
    scene_at(tmp_path / "s.tif", np.ones((8, 8, 3), np.uint8))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">s.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    crs = rasterio.CRS.from_string("+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180")
    srs = crs.to_wkt(version="WKT2_2018").replace('"', "&quot;")
    path = tmp_path / "rotated_pole.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="8" rasterYSize="8"><SRS>{srs}</SRS><GeoTransform>5,1,0,9,0,-1</GeoTransform>'
        f"{bands}</VRTDataset>"
    )

    def never(tiles: np.ndarray) -> np.ndarray:
        raise AssertionError

    with pytest.raises(OutputError, match="can't be carried in a GeoTIFF; assign it one that can"):
        Segmenter(never, make_manifest()).predict_scene(path)
    assert leftovers() == []


def test_folders_that_can_not_be_written_to_are_named_with_the_remedy(
    scene: Any, make_manifest: Callable[..., Manifest], tmp_path: Path, leftovers: Callable[[], list[str]]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(OutputError) as caught:
            Segmenter(identity, make_manifest()).predict_scene(scene.path, folder)
        assert "choose another folder with -o" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert leftovers() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_named(
    scene: Any, make_manifest: Callable[..., Manifest], tmp_path: Path
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    with pytest.raises(OutputError, match="locked"):
        Segmenter(identity, make_manifest()).predict_scene(scene.path, folder)


def test_two_runs_of_one_process_do_not_write_one_map(tmp_path: Path) -> None:
    scene_path = tmp_path / "s [1].tif"
    scene_path.write_bytes(b"")
    final = output_paths(scene_path, None)
    with staged(final, scene_path) as hidden:
        with pytest.raises(OutputError, match="another run"), staged(final, scene_path):
            pass
        for path in hidden:
            path.write_bytes(b"done")
            path.with_name(path.name + ".aux.xml").write_bytes(b"a library's litter")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([scene_path.name, *(path.name for path in final)])


def test_scenes_that_would_share_a_map_are_refused(tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "s.tif", tmp_path / "b" / "s.tif"
    require_no_clash([a, b], None)
    with pytest.raises(UsageError, match=r"would both write s_landslide"):
        require_no_clash([a, b], tmp_path / "out")
    with pytest.raises(UsageError, match="would both write"):
        require_no_clash([a, a], None)
    with pytest.raises(UsageError, match="would both write"):
        require_no_clash([a, a.with_suffix(".png")], None)
    with pytest.raises(UsageError, match="would replace the scene"):
        require_no_clash([a, a.with_name("s_landslide.tif")], None)
    require_no_clash([a, a.with_name("s_landslide.tif")], tmp_path / "out")


def test_a_scene_that_the_polygons_of_another_would_replace_is_refused(tmp_path: Path) -> None:
    """A GeoPackage may be a raster."""
    scenes = [tmp_path / "s.tif", tmp_path / "s_landslide.gpkg"]
    require_no_clash(scenes, None, "geojson")
    with pytest.raises(UsageError, match="would replace the scene"):
        require_no_clash(scenes, None, "gpkg")
