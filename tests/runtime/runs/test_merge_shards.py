"""Shards of a scene, made anywhere, joined into what one run makes, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumable_runs import sloped

from kda_edge.errors import Cancelled, JournalError, KdaEdgeError, OutputError, SceneError
from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, Segmenter
from kda_edge.runtime.cli.infer import main
from kda_edge.runtime.results import SceneResult, ShardResult
from kda_edge.runtime.runs.framed_file import alone
from kda_edge.runtime.runs.merge_shards import merge_shards
from kda_edge.runtime.runs.shards import Shard

HEIGHT, WIDTH = 1900, 60  # 8 rows of blocks


def failing(tiles: np.ndarray) -> np.ndarray:
    if (tiles[:, 0] == 13).any():
        raise RuntimeError("out of memory")
    return sloped(tiles)


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory, scene_at: Callable[..., Any]) -> Path:
    """A scene with landslides across all borders of shards, a hole without data, and a tile that fails."""
    rng = np.random.default_rng(5)
    image = np.repeat(rng.integers(14, 256, (HEIGHT // 20, WIDTH, 3), np.uint8), 20, axis=0)
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[700:900, 10:30] = False
    image[1000, 5, 0] = 13
    path: Path = scene_at(tmp_path_factory.mktemp("scene") / "s.tif", image, valid=valid, mask="internal").path
    return path


@pytest.fixture(scope="module")
def segmenter(make_manifest: Callable[..., Manifest]) -> Segmenter:
    return Segmenter(failing, make_manifest(), notes=("a note on the model",))


@pytest.fixture(scope="module")
def whole(segmenter: Segmenter, scene_path: Path, tmp_path_factory: pytest.TempPathFactory) -> SceneResult:
    return segmenter.predict_scene(scene_path, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def two(segmenter: Segmenter, scene_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ShardResult]:
    folder = tmp_path_factory.mktemp("two")
    return [segmenter.predict_shard(scene_path, Shard(number, 2), folder) for number in (1, 2)]


def contents(result: SceneResult) -> list[bytes]:
    return [file.read_bytes() for file in (result.map_path, result.polygons_path, result.picture_path)]


@pytest.mark.parametrize("count", [1, 2, 7, 11])
def test_shards_make_the_files_of_one_run_byte_for_byte(
    segmenter: Segmenter, scene_path: Path, whole: SceneResult, tmp_path: Path, count: int
) -> None:
    """Tiling rule 23; of eleven shards three are empty."""
    shards = [segmenter.predict_shard(scene_path, Shard(number, count), tmp_path) for number in range(count, 0, -1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"s_landslide.shard-{number}-of-{count}.kda" for number in range(1, count + 1)
    )
    merged = merge_shards(scene_path, [tmp_path], tmp_path / "out")
    assert contents(merged) == contents(whole)
    assert sum(shard.tiles for shard in shards) == whole.tiles
    assert sum(shard.failed_tiles for shard in shards) == whole.failed_tiles > 0
    assert merged.notes == whole.notes
    assert "a note on the model" in merged.notes
    facts = ("valid_px", "landslide_px", "polygons", "area_m2", "tiles", "failed_tiles", "height_px", "width_px")
    assert [getattr(merged, name) for name in facts] == [getattr(whole, name) for name in facts]
    assert sum(shard.first_row == shard.end_row for shard in shards) == max(count - 8, 0)


def test_a_shard_goes_on_where_it_was_cut_off(
    segmenter: Segmenter, scene_path: Path, two: list[ShardResult], tmp_path: Path
) -> None:
    def cancel() -> bool:
        return bool(told) and told[-1] > 60

    told: list[int] = []
    with pytest.raises(Cancelled, match=r"\d+ of 1024 rows are kept"):
        segmenter.predict_shard(
            scene_path, Shard(1, 2), tmp_path, progress=lambda done, total: told.append(done), cancel=cancel
        )
    assert [path.name for path in tmp_path.iterdir()] == [".s_landslide.shard-1-of-2.journal"]
    result = segmenter.predict_shard(scene_path, Shard(1, 2), tmp_path)
    assert result.resumed_rows > 0
    assert result.rows_path.read_bytes() == two[0].rows_path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["s_landslide.shard-1-of-2.kda"]


def refused(scene_path: Path, shards: list[Any], out: Path) -> str:
    with pytest.raises(KdaEdgeError) as caught:
        merge_shards(scene_path, shards, out)
    assert not out.exists() or list(out.iterdir()) == []
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, (JournalError, OutputError))
    return str(caught.value)


def test_what_does_not_make_one_map_is_refused_with_the_file_named(
    segmenter: Segmenter,
    make_manifest: Callable[..., Manifest],
    scene_path: Path,
    scene_at: Callable[..., Any],
    two: list[ShardResult],
    tmp_path: Path,
) -> None:
    first, second = (shard.rows_path for shard in two)
    out = tmp_path / "out"
    assert "shards are missing: 2/2" in refused(scene_path, [first], out)
    assert "there is no s_landslide.shard-*.kda in" in refused(scene_path, [tmp_path], out)
    assert f"{tmp_path / 'no.kda'} can't be read" in refused(scene_path, [tmp_path / "no.kda"], out)

    third = segmenter.predict_shard(scene_path, Shard(1, 3), tmp_path / "three").rows_path
    assert f"{third} is one of 3 shards and {first} one of 2" in refused(scene_path, [first, third, second], out)

    copy = tmp_path / "copy.kda"
    copy.write_bytes(second.read_bytes())
    assert f"{copy} and {second} are the same shard" in refused(scene_path, [first, second, copy], out)

    copy.write_bytes(second.read_bytes()[:-1])
    assert f"{copy} holds 876 of the 876 rows of shard 2/2, cut short" in refused(scene_path, [first, copy], out)
    spoiled = bytearray(second.read_bytes())
    spoiled[len(spoiled) // 2] ^= 1
    copy.write_bytes(spoiled)
    assert "rows of shard 2/2, cut short or damaged; copy it again" in refused(scene_path, [first, copy], out)
    copy.write_bytes(second.read_bytes() + b"more")
    assert "cut short or damaged" in refused(scene_path, [first, copy], out)
    copy.write_bytes(b"no shard at all")
    assert f"{copy} is damaged or of another version" in refused(scene_path, [first, copy], out)
    copy.write_bytes(b"")
    assert f"{copy} is no finished shard" in refused(scene_path, [first, copy], out)

    other = Segmenter(sloped, make_manifest(threshold=0.25)).predict_shard(scene_path, Shard(2, 2), tmp_path).rows_path
    said = refused(scene_path, [first, other], out)
    assert f"{other} is of another run than {first} (manifest was" in said

    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    changed = scene_at(tmp_path / "s.tif", image, valid=np.ones((HEIGHT, WIDTH), bool), mask="internal").path
    assert f"rows of another scene than {changed}" in refused(changed, [first, second], out)


def test_a_run_that_was_cut_off_in_the_same_folder_is_left_alone_by_a_merge(
    segmenter: Segmenter, scene_path: Path, two: list[ShardResult], whole: SceneResult, tmp_path: Path
) -> None:
    journal = tmp_path / ".s_landslide.journal"
    journal.write_bytes(b"rows of some run")
    merged = merge_shards(scene_path, [shard.rows_path for shard in two], tmp_path)
    assert contents(merged) == contents(whole)
    assert journal.read_bytes() == b"rows of some run"


def test_a_merge_waits_for_no_run_that_is_at_work_on_the_same_map(
    scene_path: Path, two: list[ShardResult], tmp_path: Path
) -> None:
    with alone(tmp_path / ".s_landslide.journal"), pytest.raises(OutputError, match="another run is at work"):
        merge_shards(scene_path, [shard.rows_path for shard in two], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_map_of_another_scene_is_kept_unless_it_may_be_replaced(
    segmenter: Segmenter,
    scene_path: Path,
    scene_at: Callable[..., Any],
    two: list[ShardResult],
    whole: SceneResult,
    tmp_path: Path,
) -> None:
    other = scene_at(tmp_path / "s.tif", np.full((40, 50, 3), 9, np.uint8)).path
    kept = segmenter.predict_scene(other, tmp_path / "out")
    before = contents(kept)
    shards = [shard.rows_path for shard in two]
    with pytest.raises(OutputError, match="--overwrite"):
        merge_shards(scene_path, shards, tmp_path / "out")
    assert contents(kept) == before
    merged = merge_shards(scene_path, shards, tmp_path / "out", overwrite=True)
    assert contents(merged) == contents(whole)
    assert contents(merge_shards(scene_path, shards, tmp_path / "out")) == contents(whole), "it is the scene's own now"


def test_shards_of_a_scene_beyond_the_model_s_ground_sampling_distance_are_merged_as_they_were_made(
    make_manifest: Callable[..., Manifest], scene_at: Callable[..., Any], tmp_path: Path
) -> None:
    path = scene_at(tmp_path / "s.tif", np.full((40, 50, 3), 9, np.uint8)).path
    far = Segmenter(sloped, make_manifest(gsd_m=(500.0, 900.0)))
    with pytest.raises(SceneError, match="--any-gsd"):
        far.predict_shard(path, Shard(1, 1), tmp_path)
    far.predict_shard(path, Shard(1, 1), tmp_path, SceneOptions(any_gsd=True))
    assert merge_shards(path, [tmp_path], tmp_path / "out").valid_px == 40 * 50


def test_no_shards_are_said_to_be_none(scene_path: Path, tmp_path: Path) -> None:
    assert "in nothing; make the shards" in refused(scene_path, [], tmp_path / "out")
    assert f"in {tmp_path} and {tmp_path}; make" in refused(scene_path, [tmp_path, tmp_path], tmp_path / "out")


def test_the_command_line_makes_and_merges_shards_without_the_model(
    make_model: Callable[..., Path], scene: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, path, shards = make_model(1 / 255, 0.0), str(scene.path), str(tmp_path / "shards")
    assert main([path, "--model", str(model), "-o", str(tmp_path / "whole"), "--min-area", "1", "--json"]) == 0
    expected = json.loads(capfd.readouterr().out)
    for number in (1, 2):
        assert main([path, "--model", str(model), "-o", shards, "--shard", f"{number}/2"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert f"shard 2/2, 70 rows -> {shards}/scene_landslide.shard-2-of-2.kda" in out
    model.unlink()
    assert main(["merge", path, "--shards", shards, "-o", str(tmp_path / "out"), "--min-area", "1", "--json"]) == 0
    merged = json.loads(capfd.readouterr().out)
    assert Path(merged["map"]).read_bytes() == Path(expected["map"]).read_bytes()
    assert Path(merged["polygons_file"]).read_bytes() == Path(expected["polygons_file"]).read_bytes()
    assert main(["merge", path, "--shards", str(tmp_path / "out")]) == 1
    assert capfd.readouterr().err.startswith("kda-infer: there is no scene_landslide.shard-")
