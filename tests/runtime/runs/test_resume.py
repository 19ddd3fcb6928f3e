"""A run that ends early keeps its finished rows; only the same run goes on from them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumable_runs import rows_kept, sloped

from kda_edge.errors import Cancelled, EngineError, JournalError, OutputError, SceneError
from kda_edge.manifest import Manifest
from kda_edge.runtime import SceneOptions, SceneResult, Segmenter
from kda_edge.tiling.tile_answers import EngineFacts

HEIGHT, WIDTH = 200, 90  # 8 bands of 4 tiles, 24 rows each but for the last
TILES, TO_STOP_AT = 32, 18


@pytest.fixture
def path(tmp_path: Path, scene_at: Callable[..., Any]) -> Path:
    image = np.random.default_rng(3).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)
    found: Path = scene_at(tmp_path / "s.tif", image).path
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / ".s_landslide.journal"


def contents(result: SceneResult) -> list[bytes]:
    return [file.read_bytes() for file in (result.map_path, result.polygons_path, result.picture_path)]


def stopping_at(tile: int) -> tuple[Callable[[int, int], None], threading.Event]:
    event = threading.Event()
    return lambda done, total: event.set() if done >= tile else None, event


def cut_off(segmenter: Segmenter, path: Path, **options: Any) -> str:
    progress, event = stopping_at(TO_STOP_AT)
    with pytest.raises(Cancelled) as caught:
        segmenter.predict_scene(path, options=SceneOptions(**options), progress=progress, cancel=event)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def segmenter(make_manifest: Callable[..., Manifest]) -> Segmenter:
    return Segmenter(sloped, make_manifest())


def test_a_cancelled_run_says_what_is_kept_and_goes_on_from_there(
    segmenter: Segmenter, path: Path, journal: Path, tmp_path: Path, leftovers: Callable[[], list[str]]
) -> None:
    whole = segmenter.predict_scene(path, tmp_path / "whole")
    said = cut_off(segmenter, path)
    kept = rows_kept(journal)
    assert 48 <= kept < HEIGHT
    assert f"{kept} of {HEIGHT} rows are kept, run the same command again to go on" in said
    assert journal.name in leftovers()
    assert "s_landslide.tif" not in leftovers()
    told: list[tuple[int, int]] = []
    result = segmenter.predict_scene(path, progress=lambda done, total: told.append((done, total)))
    assert contents(result) == contents(whole)
    assert (result.resumed_rows, whole.resumed_rows) == (kept, 0)
    assert (result.tiles, result.valid_px, result.landslide_px) == (TILES, whole.valid_px, whole.landslide_px)
    assert told[0][0] >= TO_STOP_AT - 8
    assert told[-1] == (TILES, TILES)
    assert not journal.exists()


def test_a_function_cancels_too_and_before_the_first_row_nothing_is_left(
    segmenter: Segmenter, path: Path, leftovers: Callable[[], list[str]]
) -> None:
    with pytest.raises(Cancelled) as caught:
        segmenter.predict_scene(path, cancel=lambda: True)
    assert "kept" not in str(caught.value)
    assert leftovers() == []


def test_a_run_that_was_stopped_at_its_very_end_asks_the_engine_for_nothing(
    make_manifest: Callable[..., Manifest], segmenter: Segmenter, path: Path, journal: Path, tmp_path: Path
) -> None:
    progress, event = stopping_at(TILES)
    with pytest.raises(Cancelled):
        segmenter.predict_scene(path, progress=progress, cancel=event)
    assert rows_kept(journal) == HEIGHT

    def never(tiles: np.ndarray) -> np.ndarray:
        raise AssertionError

    result = Segmenter(never, make_manifest()).predict_scene(path)
    assert contents(result) == contents(segmenter.predict_scene(path, tmp_path / "whole"))


CPU = EngineFacts(name="cpu", graph_sha256="0" * 64)


@pytest.mark.parametrize(
    ("engine", "facts", "options", "words"),
    [
        (replace(CPU, name="tensorrt"), {}, {}, "--engine was cpu and is tensorrt"),
        (replace(CPU, graph_sha256="1" * 64), {}, {}, "model graph was 000000000000 and is 111111111111"),
        (replace(CPU, batch_invariant=False), {}, {}, "tiles a call was null and is 1"),
        (replace(CPU, threads=0), {}, {}, "--threads was null and is 0"),
        (CPU, {"checkpoint_sha256": "cd" * 32}, {}, "checkpoint was abababababab and is cdcdcdcdcdcd"),
        (CPU, {"threshold": 0.25}, {}, "manifest was "),
        (CPU, {}, {"overlap_px": 9}, "--overlap was 8 and is 9"),
        (CPU, {}, {"bands": (3, 2, 1)}, "--bands was [1, 2, 3] and is [3, 2, 1]"),
        (CPU, {}, {"value_range": (0, 200)}, "--value-range was null and is [0, 200]"),
        (CPU, {}, {"resample": 0.4}, "--resample was null and is 0.4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rows_of_another_run_are_refused_with_what_differs(
    make_manifest: Callable[..., Manifest],
    path: Path,
    journal: Path,
    engine: EngineFacts,
    facts: dict[str, Any],
    options: dict[str, Any],
    words: str,
) -> None:
    cut_off(Segmenter(sloped, make_manifest(), CPU), path)
    before = journal.read_bytes()
    other = Segmenter(sloped, make_manifest(**facts), engine)
    with pytest.raises(JournalError) as caught:
        other.predict_scene(path, options=SceneOptions(**options))
    assert words in str(caught.value)
    assert "choose another folder with -o, or discard it with --restart" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert journal.read_bytes() == before
    assert other.predict_scene(path, options=SceneOptions(restart=True, **options)).resumed_rows == 0


def test_rows_of_another_scene_of_the_same_name_are_refused(
    segmenter: Segmenter, path: Path, journal: Path, scene_at: Callable[..., Any]
) -> None:
    cut_off(segmenter, path)
    image = np.random.default_rng(3).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image[-1, -1, 2] ^= 1
    scene_at(path, image)
    with pytest.raises(
        JournalError, match=r"holds \d+ finished rows of another run \(scene was \w{12} and is \w{12}\)"
    ):
        segmenter.predict_scene(path)
    assert journal.exists()


def test_what_changes_no_row_may_change_between_two_runs(
    segmenter: Segmenter, path: Path, journal: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"min_area": 2.0, "polygons": "gpkg", "max_memory_bytes": 2**40}
    cut_off(segmenter, path)
    kept = rows_kept(journal)
    result = segmenter.predict_scene(path, options=SceneOptions(**options))
    assert result.resumed_rows == kept
    assert contents(result) == contents(segmenter.predict_scene(path, tmp_path / "whole", SceneOptions(**options)))


@pytest.mark.parametrize("spoiled", [b"hello", b"kda-edge journal 9\n" + b"x" * 200])
def test_a_record_with_a_damaged_beginning_is_refused_and_can_be_discarded(
    segmenter: Segmenter, path: Path, journal: Path, spoiled: bytes
) -> None:
    journal.write_bytes(spoiled)
    with pytest.raises(JournalError, match=r"is damaged or of another version .*discard it with --restart") as caught:
        segmenter.predict_scene(path)
    assert "\n" not in str(caught.value)
    assert journal.read_bytes() == spoiled
    segmenter.predict_scene(path, options=SceneOptions(restart=True))
    assert not journal.exists()


def test_a_second_run_at_the_same_time_is_told_and_the_first_goes_on(segmenter: Segmenter, path: Path) -> None:
    told: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if not told:
            with pytest.raises(OutputError) as caught:
                segmenter.predict_scene(path)
            told.append(str(caught.value))

    assert segmenter.predict_scene(path, progress=meanwhile).map_path.exists()
    assert told[0].startswith("another run is at work on s_landslide.journal in ")


def test_the_engine_waits_for_the_record_of_a_finished_band(
    make_manifest: Callable[..., Manifest], scene_at: Callable[..., Any], tmp_path: Path, journal: Path
) -> None:
    """A scene of which most is junk behind its pixels: before its digest is there, nothing can be recorded."""
    path = scene_at(tmp_path / "s.tif", np.full((100, 32 + 20 * 24, 3), 9, np.uint8)).path
    with path.open("r+b") as file:
        file.truncate(300 * 2**20)
    unrecorded: list[int] = []

    def look(done: int, total: int) -> None:
        if not rows_kept(journal):
            unrecorded.append(done)

    Segmenter(sloped, make_manifest()).predict_scene(path, progress=look)
    assert max(unrecorded) <= 21 + 4  # a row of tiles, and those under way while it is blended


@pytest.mark.parametrize("how", ["vanishes", "is written to"])
def test_a_scene_that_is_touched_while_it_is_mapped_has_no_map(
    segmenter: Segmenter, path: Path, journal: Path, tmp_path: Path, how: str
) -> None:
    before = path.read_bytes()

    def meanwhile(done: int, total: int) -> None:
        if done != TO_STOP_AT:
            return
        if how == "vanishes":
            path.unlink()
        else:
            path.write_bytes(before[:-1] + b"!")

    with pytest.raises(SceneError) as caught:
        segmenter.predict_scene(path, progress=meanwhile)
    assert f"of {HEIGHT} rows are kept" in str(caught.value)
    assert not (tmp_path / "s_landslide.tif").exists()
    path.write_bytes(before)
    assert segmenter.predict_scene(path).resumed_rows > 0


def failing(tiles: np.ndarray) -> np.ndarray:
    if (tiles[:, 0] == 13).any():
        raise RuntimeError("out of memory")
    return sloped(tiles)


@pytest.fixture
def broken(tmp_path: Path, scene_at: Callable[..., Any]) -> Path:
    """A scene whose second band the engine can't answer."""
    image = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    image[40, 40, 0] = 13
    found: Path = scene_at(tmp_path / "s.tif", image).path
    return found


def test_failed_tiles_are_recorded_and_reported_again(
    make_manifest: Callable[..., Manifest], broken: Path, tmp_path: Path
) -> None:
    whole = Segmenter(failing, make_manifest()).predict_scene(broken, tmp_path / "whole")
    cut_off(Segmenter(failing, make_manifest()), broken)
    result = Segmenter(sloped, make_manifest()).predict_scene(broken)  # what failed is not tried again
    assert result.failed_tiles == whole.failed_tiles > 0
    assert result.notes == whole.notes
    assert contents(result) == contents(whole)
    assert Segmenter(sloped, make_manifest()).predict_scene(broken).failed_tiles == 0  # begun anew, it is


def test_strict_stops_at_the_first_failed_tile_and_tries_it_again_the_next_time(
    make_manifest: Callable[..., Manifest], broken: Path, journal: Path, leftovers: Callable[[], list[str]]
) -> None:
    with pytest.raises(
        EngineError, match=r"the tile at row 24, column 24 failed \(RuntimeError: out of memory\)"
    ) as caught:
        Segmenter(failing, make_manifest()).predict_scene(broken, options=SceneOptions(strict=True))
    assert "--strict" in str(caught.value)
    assert leftovers() == [journal.name]
    assert rows_kept(journal) == 24
    assert Segmenter(sloped, make_manifest()).predict_scene(broken, options=SceneOptions(strict=True)).failed_tiles == 0


def test_strict_does_not_take_over_failed_tiles(make_manifest: Callable[..., Manifest], broken: Path) -> None:
    cut_off(Segmenter(failing, make_manifest()), broken)
    with pytest.raises(EngineError, match="row 24, column 24 failed"):
        Segmenter(sloped, make_manifest()).predict_scene(broken, options=SceneOptions(strict=True))


def test_an_engine_that_answers_nothing_leaves_nothing_to_go_on_from(
    make_manifest: Callable[..., Manifest], path: Path, leftovers: Callable[[], list[str]]
) -> None:
    """Else a run with a repaired driver would take over tiles that failed for want of it."""
    with pytest.raises(EngineError, match=f"failed on all {TILES} tiles"):
        Segmenter(lambda tiles: tiles * np.nan, make_manifest()).predict_scene(path)
    assert leftovers() == []
