"""A moved grid covers its scene, and the distance to the borders of its tiles is what a ruler says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from kda_edge.benchmarks.seams.tile_lines import MovedGrid, border_distance_px, half_a_step
from kda_edge.errors import UsageError
from kda_edge.tiling.tile_grid import TileGrid


@pytest.mark.parametrize("size_px", [(1, 1), (31, 40), (32, 33), (100, 77), (129, 160)])
@pytest.mark.parametrize("overlap_px", [0, 7, 16])
def test_a_grid_that_is_not_moved_is_the_runtimes_own(size_px: tuple[int, int], overlap_px: int) -> None:
    grid, own = MovedGrid(*size_px, 32, overlap_px), TileGrid(*size_px, 32, overlap_px)
    assert (grid.rows, grid.cols) == (own.rows, own.cols)
    assert [grid.finished_at(row) for row in range(len(grid.rows))] == [
        own.finished_at(row) for row in range(len(own.rows))
    ]


def test_a_moved_grid_keeps_its_ends_and_moves_all_in_between() -> None:
    grid = MovedGrid(100, 64, 32, 8)
    assert grid.rows == (0, 24, 48, 68)
    assert half_a_step(grid).rows == (0, 12, 36, 60, 68)
    assert half_a_step(grid).cols == (0, 12, 32)


@pytest.mark.parametrize("overlap_px", [0, 5, 16, 24])
def test_a_moved_grid_covers_every_pixel_and_overlaps_as_much(overlap_px: int) -> None:
    for length_px in range(1, 130):
        starts = half_a_step(MovedGrid(length_px, 1, 32, overlap_px)).rows
        assert starts[0] == 0
        assert starts[-1] + 32 >= length_px
        assert all(later - earlier <= 32 - overlap_px for earlier, later in pairwise(starts))


def test_the_distance_to_a_border_is_that_of_the_nearest_line_between_tiles() -> None:
    grids = (grid := MovedGrid(90, 75, 32, 8), half_a_step(grid))
    found = border_distance_px(grids)
    down = {line for g in grids for start in g.rows for line in (start, start + 32) if 0 < line < 90}
    across = {line for g in grids for start in g.cols for line in (start, start + 32) if 0 < line < 75}
    for row, col in np.random.default_rng(0).integers((0, 0), (90, 75), (200, 2)):
        expected = min(*(abs(row + 0.5 - line) for line in down), *(abs(col + 0.5 - line) for line in across))
        assert found[row, col] == expected


def test_a_scene_of_one_tile_has_no_border_between_tiles() -> None:
    assert np.isinf(border_distance_px((MovedGrid(32, 20, 32, 8),))).all()


def test_a_grid_that_would_move_onto_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="choose 0 to 23 px"):
        MovedGrid(100, 100, 32, 8, 24)
