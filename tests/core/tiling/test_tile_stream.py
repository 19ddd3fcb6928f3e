from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sources import PATTERNS, MadeSource

from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile
from kda_edge.tiling.tile_grid import TileGrid
from kda_edge.tiling.tile_stream import Piece, Step, rows_of, tile_steps


def cut_up(source: MadeSource, seed: int):  # type: ignore[no-untyped-def]
    """Give rows in pieces of any size, in any order; refuse a row that was given before."""
    rng, given_rows = np.random.default_rng(seed), [0]

    def rows(row0: int, row1: int) -> Iterator[Piece]:
        assert row0 >= given_rows[0]
        given_rows[0] = row1
        row_cuts, col_cuts = (
            sorted({low, high, *rng.integers(low, high + 1, 2).tolist()})
            for low, high in ((row0, row1), (0, source.width_px))
        )
        pieces = [
            Piece(top, left, source.read(top, bottom, left, right))
            for top, bottom in itertools.pairwise(row_cuts)
            for left, right in itertools.pairwise(col_cuts)
        ]
        rng.shuffle(pieces)  # type: ignore[arg-type]
        yield from pieces

    return rows


@settings(max_examples=60)
@given(
    st.integers(1, 90),
    st.integers(1, 60),
    st.sampled_from([1, 8, 32]),
    st.floats(0, 0.99),
    st.sampled_from(PATTERNS),
    st.integers(0, 2),
    st.sampled_from([0, 5, 32]),
    st.integers(1, 4),
    st.integers(0, 999),
)
def test_steps_hold_each_tile_with_data_and_each_rows_masks_however_the_rows_come_in(
    height: int, width: int, tile: int, share: float, pattern: str, lost: int, halo: int, batch: int, seed: int
) -> None:
    """Against each tile and mask cut from the whole scene."""
    source = MadeSource(height, width, pattern, lost, seed=seed)
    grid = TileGrid(height, width, tile, int(tile * share))
    steps = list(tile_steps(cut_up(source, seed), grid, batch=batch, halo_px=halo))
    assert all(len(step.cols_px) <= batch for step in steps)
    found = {(grid.rows[s.tile_row], c): t for s in steps for c, t in zip(s.cols_px, s.tiles, strict=True)}
    unreadable = [(failure.row_px, failure.col_px) for step in steps for failure in step.unreadable]
    for row, col in grid:
        here = np.s_[row : row + tile, col : col + tile]
        assert ((row, col) in unreadable) == source.lost[here].any()
        assert ((row, col) in found) == (source.valid[here].any() and not source.lost[here].any())
        if (row, col) in found:
            whole = pad_to_tile(fill_nodata(source.image[here], source.valid[here]), tile)
            np.testing.assert_array_equal(found[row, col], whole.transpose(2, 0, 1))

    last_of_rows = [step for step in steps if step.finished is not None]
    assert [step.tile_row for step in last_of_rows] == list(range(len(grid.rows)))
    for step in last_of_rows:
        assert step.finished is not None
        row, end = grid.rows[step.tile_row], grid.finished_at(step.tile_row)
        around = slice(max(row - halo, 0), min(end + halo, height))
        masks = step.finished
        np.testing.assert_array_equal(masks.valid, source.valid[around])
        np.testing.assert_array_equal(masks.valid[masks.here], source.valid[row:end])
        lost_here = np.zeros_like(masks.valid) if masks.lost is None else masks.lost
        np.testing.assert_array_equal(lost_here, source.lost[around])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_tile_is_the_scenes_own_values_as_float32(dtype: str) -> None:
    source = MadeSource(32, 32, dtype=dtype)
    (step,) = tile_steps(rows_of(source, 32), TileGrid(32, 32, 32))
    assert isinstance(step, Step)
    assert step.tiles.dtype == np.float32
    assert step.tiles.flags.c_contiguous
    np.testing.assert_array_equal(step.tiles[0], source.image.transpose(2, 0, 1).astype(np.float32))
