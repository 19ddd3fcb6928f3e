from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kda_edge.manifest import STRIDE_PX
from kda_edge.runtime.map_format import EDGE_PX, FAILED_TILE, HALO_PX, NEAR_NODATA, NODATA, SCENE_EDGE
from kda_edge.runtime.mapping.qa_band import halo_rows, qa_rows


def slow_qa(valid: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """The whole scene at once, each pixel looked at by itself."""
    height, width = valid.shape
    qa = np.zeros(valid.shape, np.uint8)
    for row in range(height):
        for col in range(width):
            near = valid[max(row - HALO_PX, 0) : row + HALO_PX + 1, max(col - HALO_PX, 0) : col + HALO_PX + 1]
            if min(row, height - 1 - row, col, width - 1 - col) < EDGE_PX:
                qa[row, col] |= SCENE_EDGE
            if not valid[row, col]:
                qa[row, col] |= NODATA
                continue
            if not near.all():
                qa[row, col] |= NEAR_NODATA
            if failed[row, col]:
                qa[row, col] |= FAILED_TILE
    return qa


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(1, 160),
    st.integers(1, 120),
    st.integers(0, 4),
    st.lists(st.integers(1, 100), min_size=1, max_size=6),
    st.integers(0, 999),
)
def test_the_bits_are_exact_across_bands_of_any_height(
    height: int, width: int, holes: int, steps: list[int], seed: int
) -> None:
    """Tiling rule 13: however the scene is cut into bands, the bits are those of the whole."""
    rng = np.random.default_rng(seed)
    valid = np.ones((height, width), bool)
    valid.flat[rng.integers(0, valid.size, holes)] = False
    failed = rng.random((height, width)) < 0.1
    bands, row = [], 0
    while row < height:
        end = min(row + steps[len(bands) % len(steps)], height)
        first, last = halo_rows(row, end, height)
        bands.append(qa_rows(valid[first:last], failed[row:end], row, height))
        row = end
    np.testing.assert_array_equal(np.concatenate(bands), slow_qa(valid, failed))


@pytest.mark.parametrize(("row", "col"), [(0, 0), (99, 200), (150, 37)])
def test_the_halo_reaches_as_far_as_it_says(row: int, col: int) -> None:
    valid = np.ones((300, 300), bool)
    valid[row, col] = False
    near = (qa_rows(valid, np.zeros_like(valid), 0, 300) & NEAR_NODATA) > 0
    rows, cols = np.nonzero(near)
    assert (rows.max() - row, cols.max() - col) == (HALO_PX, HALO_PX)
    assert (rows.min(), cols.min()) == (max(row - HALO_PX, 0), max(col - HALO_PX, 0))
    assert not near[row, col]


def test_the_bits_are_those_that_the_map_promises() -> None:
    assert (NODATA, SCENE_EDGE, NEAR_NODATA, FAILED_TILE) == (1, 2, 4, 8)


def test_bits_and_distances_are_those_that_readers_of_maps_know() -> None:
    """`docs/scenes.md` lists them, and maps of years to come are read with them."""
    assert (NODATA, SCENE_EDGE, NEAR_NODATA, FAILED_TILE) == (1, 2, 4, 8)
    assert EDGE_PX == HALO_PX == STRIDE_PX
