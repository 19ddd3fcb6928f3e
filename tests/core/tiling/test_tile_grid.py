from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.errors import UsageError
from kda_edge.tiling.tile_grid import TileGrid, default_overlap_px


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    tile_px = draw(st.integers(1, 40))
    side = st.integers(1, 300)
    return TileGrid(draw(side), draw(side), tile_px, draw(st.integers(0, tile_px - 1)))


def hits(grid: TileGrid) -> np.ndarray:
    """Count the tiles over each pixel the slow way."""
    count = np.zeros((grid.height_px, grid.width_px), int)
    for row, col in grid:
        count[row : row + grid.tile_px, col : col + grid.tile_px] += 1
    return count


@given(grids())
def test_every_pixel_has_a_tile_and_no_tile_occurs_twice(grid: TileGrid) -> None:
    """Tiling rule 3."""
    corners = list(grid)
    assert hits(grid).min() >= 1
    assert len(set(corners)) == len(corners) == len(grid)
    assert corners == sorted(corners)


@given(grids())
def test_every_tile_is_whole_and_ends_within_the_scene_that_can_hold_it(grid: TileGrid) -> None:
    """Tiling rules 3 and 6: pulled back, no slivers."""
    for starts, length_px in ((grid.rows, grid.height_px), (grid.cols, grid.width_px)):
        assert starts[0] == 0
        assert starts[-1] == max(length_px - grid.tile_px, 0)


@given(grids())
def test_neighbours_overlap_by_what_was_asked_or_more_with_as_few_tiles_as_that_takes(grid: TileGrid) -> None:
    stride_px = grid.tile_px - grid.overlap_px
    for starts, length_px in ((grid.rows, grid.height_px), (grid.cols, grid.width_px)):
        steps = np.diff(starts)
        assert (steps >= 1).all()
        assert (steps <= stride_px).all()
        assert (steps[:-1] == stride_px).all()
        assert len(starts) == 1 + max(0, -(-(length_px - grid.tile_px) // stride_px))


@pytest.mark.parametrize(
    ("length_px", "starts"),
    [
        (1, (0,)),
        (63, (0,)),
        (64, (0,)),
        (65, (0, 1)),
        (111, (0, 47)),
        (112, (0, 48)),
        (113, (0, 48, 49)),
        (209, (0, 48, 96, 144, 145)),
        (225, (0, 48, 96, 144, 161)),
    ],
)
def test_sizes_around_the_tile_and_the_stride_are_exact(length_px: int, starts: tuple[int, ...]) -> None:
    """Tiling rule 3: tile - 1, tile, tile + 1, k * stride +- 1, 1 px, and the two sizes seen to fail elsewhere."""
    assert TileGrid(length_px, 64, 64, 16).rows == starts
    assert TileGrid(64, length_px, 64, 16).cols == starts


@pytest.mark.parametrize(
    "numbers", [(0, 5, 8, 0), (5, 0, 8, 0), (5, 5, 0, 0), (5, 5, 8, 8), (5, 5, 8, -1), (5, 5, 8, 9)], ids=str
)
def test_numbers_that_make_no_tiles_are_refused_in_one_line(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        TileGrid(*numbers)
    assert "\n" not in str(caught.value)


@given(grids(), st.data())
def test_a_part_of_a_scene_has_the_rows_of_tiles_that_touch_it_and_no_other(
    grid: TileGrid, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, grid.height_px - 1))
    end = data.draw(st.integers(first + 1, min(first + 3, grid.height_px)))
    touching = [i for i, row in enumerate(grid.rows) if set(range(row, row + grid.tile_px)) & set(range(first, end))]
    assert list(grid.tile_rows(first, end)) == touching


@given(grids())
def test_a_row_of_tiles_finishes_the_rows_that_no_later_one_touches(grid: TileGrid) -> None:
    for index, row in enumerate(grid.rows):
        later = [start for start in grid.rows if start > row]
        assert grid.finished_at(index) == min(later, default=grid.height_px)


@pytest.mark.parametrize(("first", "end"), [(5, 11), (5, 5), (-1, 5)])
def test_rows_that_a_scene_does_not_have_are_refused(first: int, end: int) -> None:
    with pytest.raises(UsageError, match=f"has no rows {first} to {end - 1}"):
        TileGrid(10, 10, 4).tile_rows(first, end)


@given(st.integers(1, 4096))
def test_tiles_overlap_by_a_quarter_of_their_side_unless_told_otherwise(tile_px: int) -> None:
    assert 0 <= tile_px / 4 - default_overlap_px(tile_px) < 1
    TileGrid(2 * tile_px, 1, tile_px, default_overlap_px(tile_px))
