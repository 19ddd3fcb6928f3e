"""A quicklook beside the full map of its scene: other names, other rows kept, and what can't be combined."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kda_edge.errors import Cancelled, OutputError, UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, Segmenter, Shard
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.results import SceneResult

QUICK = SceneOptions(quicklook=True)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Segmenter:
    return Segmenter(lambda tiles: tiles[:, :1] / np.float32(255), make_manifest())


def fields(height: int, width: int) -> np.ndarray:
    """Squares of 20 px, each of one colour."""
    colours = np.random.default_rng(height).integers(1, 256, (-(-height // 20), -(-width // 20), 3), np.uint8)
    return colours.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]


@pytest.fixture
def path(tmp_path: Path, scene_at: Callable[..., Any]) -> Path:
    return Path(scene_at(tmp_path / "s.tif", fields(800, 1001)).path)


def contents(result: SceneResult) -> list[bytes]:
    return [file.read_bytes() for file in (result.map_path, result.polygons_path, result.picture_path)]


def test_quicklook_and_full_map_lie_side_by_side_in_any_order(
    path: Path, tmp_path: Path, segmenter: Segmenter, leftovers: Callable[[], list[str]]
) -> None:
    quick, full = segmenter.predict_scene(path, options=QUICK), segmenter.predict_scene(path)
    before = contents(quick), contents(full)
    assert not any("earlier map" in note for result in (quick, full) for note in result.notes)
    assert contents(segmenter.predict_scene(path, quicklook=True)) == before[0]
    assert contents(segmenter.predict_scene(path)) == before[1]
    assert contents(quick) == before[0]
    assert len(leftovers()) == 6
    packed = segmenter.predict_scene(path, options=SceneOptions(quicklook=True, polygons="gpkg"))
    assert packed.polygons_path.name == "s_landslide_quicklook.gpkg"
    assert "s_landslide_quicklook.geojson is of an earlier map; remove it" in packed.notes
    assert b'"quicklook": "1/4 of the scene' in packed.polygons_path.read_bytes()
    assert contents(full) == before[1]


def cut_off(segmenter: Segmenter, path: Path, options: SceneOptions, tile: int) -> str:
    event = threading.Event()
    with pytest.raises(Cancelled) as caught:
        segmenter.predict_scene(
            path, options=options, progress=lambda done, _: event.set() if done >= tile else None, cancel=event
        )
    return str(caught.value)


def test_both_are_gone_on_with_and_neither_takes_the_others_rows(
    path: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    wholes = [
        contents(segmenter.predict_scene(path, tmp_path / "whole", options)) for options in (QUICK, SceneOptions())
    ]
    assert "of 200 rows are kept" in cut_off(segmenter, path, QUICK, 60)
    assert "of 800 rows are kept" in cut_off(segmenter, path, SceneOptions(), 600)
    quick = segmenter.predict_scene(path, options=QUICK)
    assert (tmp_path / ".s_landslide.journal").exists()
    full = segmenter.predict_scene(path)
    assert 0 < quick.resumed_rows < 200
    assert 0 < full.resumed_rows < 800
    assert [contents(quick), contents(full)] == wholes
    cut_off(segmenter, path, QUICK, 60)
    restarted = segmenter.predict_scene(path, options=SceneOptions(quicklook=True, restart=True))
    assert restarted.resumed_rows == 0


def test_a_quicklook_of_another_scene_is_replaced_only_when_asked_for(
    path: Path, tmp_path: Path, scene_at: Callable[..., Any], segmenter: Segmenter
) -> None:
    maps = tmp_path / "maps"
    (tmp_path / "b").mkdir()
    other = scene_at(tmp_path / "b" / "s.tif", fields(300, 400)).path
    quick, full = segmenter.predict_scene(path, maps, QUICK), segmenter.predict_scene(path, maps)
    before = contents(full)
    with pytest.raises(OutputError, match=r"s_landslide_quicklook\.tif is there and .*--overwrite"):
        segmenter.predict_scene(other, maps, QUICK)
    replaced = segmenter.predict_scene(other, maps, SceneOptions(quicklook=True, overwrite=True))
    assert replaced.map_path == quick.map_path
    assert (replaced.height_px, replaced.width_px) == (75, 100)
    assert contents(full) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "1/2"], "a quicklook is made whole, not in shards; leave out --shard or --quicklook"),
        (["--resample", "2"], "--quicklook and --resample both say at which resolution to read the scene; give one"),
    ],
    ids=["shard", "resample"],
)
def test_what_a_quicklook_can_not_be_is_one_line(
    path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str], leftovers: Callable[[], list[str]]
) -> None:
    assert main([str(path), "--quicklook", *words]) == 2
    assert capsys.readouterr().err == f"kda-infer: {said}\n"
    assert leftovers() == []


def test_shards_are_of_full_maps_in_python_and_in_merging_too(path: Path, segmenter: Segmenter) -> None:
    with pytest.raises(UsageError, match="a quicklook is made whole"):
        segmenter.predict_shard(path, Shard(1, 2), options=QUICK)
    with pytest.raises(SystemExit, match="2"):
        main(["merge", str(path), "--shards", str(path.parent), "--quicklook"])


def test_several_scenes_have_a_quicklook_each_or_none_where_two_would_share_a_name(
    path: Path, tmp_path: Path, scene_at: Callable[..., Any], make_model: Callable[..., Path], capsys: Any
) -> None:
    model = ["--model", str(make_model(1 / 255, 0.0))]
    other = scene_at(tmp_path / "t.tif", fields(300, 400)).path
    assert main([str(path), str(other), "--quicklook", "-q", *model]) == 0
    assert sorted(file.name for file in tmp_path.glob("*_landslide*.tif")) == [
        "s_landslide_quicklook.tif",
        "t_landslide_quicklook.tif",
    ]
    (tmp_path / "b").mkdir()
    same = scene_at(tmp_path / "b" / "s.tif", fields(100, 100)).path
    assert main([str(path), str(same), "--quicklook", "-o", str(tmp_path / "maps"), *model]) == 2
    assert "would both write s_landslide_quicklook." in capsys.readouterr().err
    assert main([str(tmp_path / "s_landslide_quicklook.tif"), *model]) == 1
    assert "is a landslide map, not a scene" in capsys.readouterr().err
