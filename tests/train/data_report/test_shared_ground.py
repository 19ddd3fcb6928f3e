"""Splits that share ground are told so: by windows, by coordinates, by content; the worst pair comes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from textured_ground import textured_ground
from worlds import write_data_file, write_image

from kda_edge.train.data.data_file import DataRequest
from kda_edge.train.data_report.data_report import DataReport, data_report
from kda_edge.train.data_report.shared_ground import shares_of

SPLIT = '[[source]]\nname = "d"\nroot = "d"\ntrain = ["a", "b"]\nval = ["c"]\ntest = ["e"]\n'


def reported(tmp_path: Path, text: str = SPLIT) -> DataReport:
    described = write_data_file(tmp_path / "d.toml", text)
    return data_report(DataRequest(described, seed=0), root=tmp_path / "cache")[0]


def write_tiles(tmp_path: Path, corners: dict[str, tuple[int, int]], pixels: dict[str, np.ndarray], crs: str) -> None:
    for name, (row, col) in corners.items():
        place = {"crs": crs, "transform": rasterio.Affine(0.5, 0, 600000 + col / 2, 0, -0.5, 3000000 - row / 2)}
        write_image(tmp_path / "d" / "images" / f"{name}.tif", pixels[name], **place)
        mask = np.zeros(pixels[name].shape[:2], np.uint8)
        mask[:5] = 1
        write_image(tmp_path / "d" / "masks" / f"{name}.tif", mask)


def named(report: DataReport) -> list[tuple[str, str]]:
    pairs = [(one.first, one.second) for one in report.shared_ground]
    return [(f"{a[0]} {Path(a[1]).stem}", f"{b[0]} {Path(b[1]).stem}") for a, b in pairs]


def test_georeferenced_images_that_overlap_are_found_whatever_they_show(tmp_path: Path) -> None:
    corners = {"a": (0, 0), "b": (1000, 0), "c": (0, 90), "e": (0, 200)}
    write_tiles(tmp_path, corners, {name: textured_ground(i, 100, 100) for i, name in enumerate("abce")}, "EPSG:32647")
    report = reported(tmp_path)
    assert named(report) == [("train a", "val c")]
    assert report.shared_ground[0].share == pytest.approx(0.1)
    assert report.shared_ground[0].known_by == "coordinates"
    assert any("1 pair of images shares ground across splits, with 1 held-out image" in w for w in report.warnings)


def test_tiles_that_only_touch_are_not_found(tmp_path: Path) -> None:
    corners = {"a": (0, 0), "b": (100, 0), "c": (0, 100), "e": (100, 100)}
    ground = textured_ground(0, 200, 200)
    pixels = {name: ground[row : row + 100, col : col + 100] for name, (row, col) in corners.items()}
    write_tiles(tmp_path, corners, pixels, "EPSG:32647")
    assert reported(tmp_path).shared_ground == ()


def test_the_worst_pair_comes_first_and_pairs_within_a_split_do_not_count(tmp_path: Path) -> None:
    ground = textured_ground(0, 200, 500)
    columns = {"a": 0, "b": 10, "c": 100, "e": 40}  # of tiles of 200 px
    pixels = {name: ground[:, col : col + 200] for name, col in columns.items()}
    for name in "abce":
        write_image(tmp_path / "d" / "images" / f"{name}.png", pixels[name])
        write_image(tmp_path / "d" / "masks" / f"{name}.png", np.tri(200, dtype=np.uint8))
    report = reported(tmp_path)
    expected = {"a e": 0.8, "b e": 0.85, "c e": 0.7, "a c": 0.5, "b c": 0.55}
    worst_first = sorted(expected, key=lambda pair: -expected[pair])
    assert [f"{Path(one.first[1]).stem} {Path(one.second[1]).stem}" for one in report.shared_ground] == worst_first
    assert [one.share for one in report.shared_ground] == pytest.approx([expected[p] for p in worst_first], abs=0.02)
    assert {one.known_by for one in report.shared_ground} == {"content"}
    assert any("worst: train b.png and test e.png 85% (correlation" in warning for warning in report.warnings)


@pytest.mark.parametrize(("top", "share"), [(90, 0.0), (80, 10 / 60), (0, 1.0)])
def test_windows_of_one_scene_share_what_both_cover(scene: Path, tmp_path: Path, top: int, share: float) -> None:
    text = (
        f'[[source]]\nname = "o"\nroot = "{scene.name}"\nlayout = "scenes"\nvalid = "valid"\nmask_landslide = [1]\n'
        f"windows = {{ train = [0, 0, 192, 90], val = [0, {top}, 192, {min(top + 60, 160)}] }}\n"
    )
    report = reported(tmp_path, text)
    by_place = [one for one in report.shared_ground if one.known_by != "content"]
    assert [one.share for one in by_place] == pytest.approx([share] * (share > 0))


def test_the_share_of_two_rectangles_is_what_counting_cells_gives() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 30, (60, 2))
    rectangles = np.hstack([low, low + rng.integers(1, 20, (60, 2))])
    one = (10, 12, 25, 31)

    def cells(rectangle: np.ndarray | tuple[int, ...]) -> set[tuple[int, int]]:
        x0, y0, x1, y1 = (int(value) for value in rectangle)
        return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}

    slow = [len(cells(r) & cells(one)) / min(len(cells(r)), len(cells(one))) for r in rectangles]
    assert shares_of(rectangles, one).tolist() == pytest.approx(slow)
