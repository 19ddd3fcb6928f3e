"""A map of another scene is not replaced unless somebody says so; one of the same scene always is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_videos import COLOURS, write_video

from kda_edge.errors import Cancelled, OutputError
from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.runtime.outputs.map_owner import SCENE_TAG
from kda_edge.runtime.runs.merge_shards import merge_shards
from kda_edge.runtime.runs.shards import Shard


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Iterator[Segmenter]:
    with Segmenter(identity, make_manifest()) as opened:
        yield opened


@pytest.fixture
def two(tmp_path: Path, scene_at: Callable[..., Any]) -> tuple[Path, Path]:
    """Two scenes of one name, size and place: one satellite's, of two days."""
    paths = []
    for day in (1, 2):
        (tmp_path / f"day{day}").mkdir()
        image = np.random.default_rng(day).integers(1, 256, (60, 70, 3), np.uint8)
        paths.append(scene_at(tmp_path / f"day{day}" / "visual.tif", image).path)
    return paths[0], paths[1]


def test_the_map_of_another_scene_of_that_name_is_kept_unless_it_is_to_be_replaced(
    two: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter
) -> None:
    first = segmenter.predict_scene(two[0], tmp_path / "maps")
    files = (first.map_path, first.polygons_path, first.picture_path)
    before = [path.read_bytes() for path in files]
    for polygons in ("geojson", "gpkg"):
        with pytest.raises(OutputError) as caught:
            segmenter.predict_scene(two[1], tmp_path / "maps", options=SceneOptions(polygons=polygons))
        assert str(caught.value) == (
            f"{first.map_path} is there and is of something else than {two[1]} as it is now; "
            "choose another folder with -o, or replace it with --overwrite"
        )
    assert [path.read_bytes() for path in files] == before
    assert sorted((tmp_path / "maps").iterdir()) == sorted(files)
    second = segmenter.predict_scene(two[1], tmp_path / "maps", options=SceneOptions(overwrite=True))
    assert second.map_path.read_bytes() != before[0]
    assert second.map_path.read_bytes() == segmenter.predict_scene(two[1]).map_path.read_bytes()


def test_the_same_scene_is_mapped_again_with_any_setting_from_any_place(
    two: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter
) -> None:
    """Also after it was moved and a viewer has put statistics and overviews beside it."""
    maps = tmp_path / "maps"
    segmenter.predict_scene(two[0], maps)
    for settings in ({"overlap_px": 0}, {"bands": (3, 2, 1)}, {"polygons": "gpkg", "min_area": 9.0}, {"resample": 1.0}):
        segmenter.predict_scene(two[0], maps, SceneOptions(**settings))
    (tmp_path / "moved").mkdir()
    moved = Path(shutil.copy(two[0], tmp_path / "moved" / "visual.tif"))
    moved.with_name("visual.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    with open_raster(moved) as dataset:
        profile = dataset.profile | {"width": 35, "height": 30, "photometric": "rgb"}
    with open_raster(tmp_path / "half.tif", "w", **profile) as dataset:
        dataset.write(np.zeros((3, 30, 35), np.uint8))
    (tmp_path / "half.tif").rename(moved.with_name("visual.tif.ovr"))
    with open_raster(moved) as dataset:
        assert dataset.overviews(1) == [2]
    segmenter.predict_scene(moved, maps)


def test_a_map_says_by_which_scene_it_is_known_and_equal_scenes_give_equal_bytes(
    two: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter
) -> None:
    copy = Path(shutil.copy(two[0], tmp_path / "copy.tif"))
    one, same, other = (
        segmenter.predict_scene(path, tmp_path / str(number)).map_path
        for number, path in enumerate((two[0], copy, two[1]))
    )
    assert one.read_bytes() == same.read_bytes()
    tags = []
    for path in (one, other):
        with open_raster(path) as dataset:
            tags.append(dataset.tags()[SCENE_TAG])
    assert len(set(tags)) == 2
    assert {len(tag) for tag in tags} == {64}


@pytest.mark.parametrize("older", [b"something of mine", b""], ids=["a file", "nothing in it"])
def test_what_does_not_say_what_it_is_of_is_kept(
    two: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter, older: bytes
) -> None:
    path = tmp_path / "visual_landslide.tif"
    path.write_bytes(older)
    with pytest.raises(OutputError, match="does not say that it is of"):
        segmenter.predict_scene(two[0], tmp_path)
    assert path.read_bytes() == older
    segmenter.predict_scene(two[0], tmp_path, options=SceneOptions(overwrite=True))
    segmenter.predict_scene(two[0], tmp_path)


def test_a_run_that_was_cut_off_goes_on_beside_an_older_map_of_its_scene(
    two: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter
) -> None:
    maps, calls = tmp_path / "maps", list[int]()
    segmenter.predict_scene(two[0], maps)
    with pytest.raises(Cancelled):
        segmenter.predict_scene(
            two[0], maps, progress=lambda done, total: calls.append(done), cancel=lambda: 6 in calls
        )
    with pytest.raises(OutputError) as caught:
        segmenter.predict_scene(two[1], maps)
    assert "rows are kept" not in str(caught.value), "they are of the other scene"
    assert segmenter.predict_scene(two[0], maps).resumed_rows > 0


def test_merging_and_shards_keep_what_is_of_another_scene(
    two: tuple[Path, Path], tmp_path: Path, segmenter: Segmenter
) -> None:
    shards, maps = [tmp_path / "shards1", tmp_path / "shards2"], tmp_path / "maps"
    for scene, folder in zip(two, shards, strict=True):
        segmenter.predict_shard(scene, Shard(1, 1), folder)
    merge_shards(two[0], [shards[0]], maps)
    segmenter.predict_scene(two[0], maps)  # of one scene, by whichever way
    merge_shards(two[0], [shards[0]], maps)
    with pytest.raises(OutputError, match=r"visual_landslide\.tif is there and is of something else"):
        merge_shards(two[1], [shards[1]], maps)
    merge_shards(two[1], [shards[1]], maps, overwrite=True)
    with pytest.raises(OutputError, match=r"shard-1-of-1\.kda is there and is of something else"):
        segmenter.predict_shard(two[0], Shard(1, 1), shards[1])
    segmenter.predict_shard(two[1], Shard(1, 1), shards[1], options=SceneOptions(overlap_px=0))
    (shards[0] / "visual_landslide.shard-1-of-1.kda").write_bytes(b"something of mine")
    with pytest.raises(OutputError, match="does not say that it is of"):
        segmenter.predict_shard(two[0], Shard(1, 1), shards[0])
    segmenter.predict_shard(two[0], Shard(1, 1), shards[0], options=SceneOptions(overwrite=True))


def test_the_command_line_refuses_one_scene_and_maps_the_others(
    two: tuple[Path, Path], tmp_path: Path, make_model: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    same = ["--model", str(make_model(1 / 255, 0.0)), "-o", str(tmp_path / "maps")]
    other = Path(shutil.copy(two[1], tmp_path / "other.tif"))
    assert main([str(two[0]), *same]) == 0
    assert main([str(two[1]), str(other), *same]) == 1
    out, err = capfd.readouterr()
    assert "other_landslide.tif" in out
    assert err.count("\n") == 1
    assert "--overwrite" in err
    assert main([str(two[1]), *same, "--overwrite"]) == 0
    assert main([str(two[1]), *same, "--shard", "1/1"]) == 0
    merging = ["merge", str(two[1]), "--shards", str(tmp_path / "maps"), "-o", str(tmp_path / "maps")]
    assert main(merging) == 0
    assert main([*merging, "--overwrite"]) == 0


def test_the_overlay_of_another_flight_of_that_name_is_kept(
    tmp_path: Path, make_model: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """Cameras number their files, and begin anew with each card."""
    for card in (1, 2):
        (tmp_path / f"card{card}").mkdir()
        write_video(tmp_path / f"card{card}" / "DJI_0001.mp4", [COLOURS[card]] * 3)
    same = ["--model", str(make_model(1 / 255, 0.0)), "-o", str(tmp_path / "maps")]
    first, second = (str(tmp_path / f"card{card}" / "DJI_0001.mp4") for card in (1, 2))
    assert main([first, *same]) == 0
    before = (tmp_path / "maps" / "DJI_0001_landslide.mp4").read_bytes()
    assert main([first, *same, "--every", "2"]) == 0
    assert main([first, *same]) == 0
    capfd.readouterr()
    assert main([second, *same]) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "DJI_0001_landslide.mp4 is there and is of something else" in err
    assert (tmp_path / "maps" / "DJI_0001_landslide.mp4").read_bytes() == before
    assert main([second, *same, "--overwrite"]) == 0
    (tmp_path / "maps" / "DJI_0001_landslide.jsonl").write_text("mine\n")
    assert main([second, *same]) == 1
    assert "does not say that it is of" in capfd.readouterr().err
