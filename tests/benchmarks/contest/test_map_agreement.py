"""Two maps are of the same network where no blending and no nodata touches them, or the comparison says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kda_edge.benchmarks.contest.map_agreement import agreement_of, alone_in_one_tile
from kda_edge.benchmarks.contestants.plain_map import write_plain_map
from kda_edge.errors import UsageError
from kda_edge.runtime.geo.gdal import open_raster
from kda_edge.tiling.tile_grid import TileGrid

TILE_PX, OVERLAP_PX = 32, 8


def written(path: Path, probability: np.ndarray, valid: np.ndarray | None = None) -> Path:
    profile = {"driver": "GTiff", "height": probability.shape[0], "width": probability.shape[1], "count": 1}
    with open_raster(path.with_suffix(".scene.tif"), "w", dtype="uint8", **profile) as scene:
        scene.write(np.ones((1, *probability.shape), np.uint8))
    with open_raster(path.with_suffix(".scene.tif")) as scene:
        all_valid = np.ones(probability.shape, np.bool_)
        write_plain_map(path, scene, probability.astype(np.float32), all_valid if valid is None else valid, 0.5)
    return path


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 31), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_pixel_is_alone_where_exactly_one_whole_tile_with_data_all_over_holds_it(
    height_px: int, width_px: int, overlap_px: int, seed: int
) -> None:
    valid = np.random.default_rng(seed).random((height_px, width_px)) > 0.0005
    found = alone_in_one_tile(valid, TILE_PX, overlap_px)
    tiles = list(TileGrid(height_px, width_px, TILE_PX, overlap_px))
    for row, col in np.ndindex(height_px, width_px):
        if (row * 31 + col * 17) % 23:  # some of the pixels
            continue
        holders = [(r, c) for r, c in tiles if r <= row < r + TILE_PX and c <= col < c + TILE_PX]
        r, c = holders[0]
        inside = r + TILE_PX <= height_px and c + TILE_PX <= width_px
        whole = inside and bool(valid[r : r + TILE_PX, c : c + TILE_PX].all())
        assert found[row, col] == (len(holders) == 1 and whole)


@pytest.mark.parametrize(
    ("steps", "row_col", "same"),
    [(1, (10, 10), True), (2, (10, 10), False), (254, (10, 28), True)],
    ids=["a rounding", "two steps where one tile answers", "anything where tiles overlap"],
)
def test_two_steps_of_one_tile_s_answer_are_another_network(
    tmp_path: Path, steps: int, row_col: tuple[int, int], same: bool
) -> None:
    ours = np.zeros((TILE_PX, 56))  # two tiles that share the columns 24 to 31
    theirs = ours.copy()
    theirs[row_col] = steps / 254
    found = agreement_of(
        written(tmp_path / "a.tif", ours), written(tmp_path / "b.tif", theirs), tile_px=TILE_PX, overlap_px=OVERLAP_PX
    )
    assert found.is_same_network() is same
    assert found.is_same_network(exact=False)  # one pixel is within what rounding may do
    assert found.alone_px == TILE_PX * 48
    assert found.mean_abs == pytest.approx(steps / 254 / ours.size)
    assert found.same_class == pytest.approx(1 - (steps > 127) / ours.size)


def test_other_valid_pixels_and_maps_that_tell_nothing_are_no_agreement(tmp_path: Path) -> None:
    blank = np.zeros((TILE_PX, TILE_PX))
    hole = np.ones(blank.shape, np.bool_)
    hole[0, 0] = False
    whole, holed = written(tmp_path / "a.tif", blank), written(tmp_path / "b.tif", blank, hole)
    assert not agreement_of(whole, holed, tile_px=TILE_PX, overlap_px=OVERLAP_PX).is_same_network()
    holed_both = agreement_of(holed, holed, tile_px=TILE_PX, overlap_px=OVERLAP_PX)
    assert holed_both.same_valid
    assert not holed_both.is_same_network()  # its only tile holds nodata, so that nobody can tell
    with pytest.raises(UsageError, match="sizes differ"):
        agreement_of(whole, written(tmp_path / "c.tif", np.zeros((8, 8))), tile_px=TILE_PX, overlap_px=OVERLAP_PX)


def test_a_rounding_engine_may_differ_a_little_everywhere_and_another_network_may_not(tmp_path: Path) -> None:
    ours = np.full((TILE_PX, TILE_PX), 0.5)
    for difference, same in ((4 / 254, True), (7 / 254, False)):
        theirs = written(tmp_path / f"{difference}.tif", ours + difference)
        found = agreement_of(written(tmp_path / "a.tif", ours), theirs, tile_px=TILE_PX, overlap_px=OVERLAP_PX)
        assert found.alone_mean_abs == pytest.approx(difference)
        assert not found.is_same_network()
        assert found.is_same_network(exact=False) is same
