from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.tiling.blend import FLOOR, BandBlender, axis_weights

tiles_and_overlaps = st.integers(1, 96).flatmap(lambda tile: st.tuples(st.just(tile), st.integers(0, tile - 1)))


@given(tiles_and_overlaps, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_no_weight_of_a_tile_is_below_a_thousandth_or_above_one(
    tile_and_overlap: tuple[int, int], top: bool, bottom: bool, left: bool, right: bool
) -> None:
    """Tiling rules 1 and 2."""
    rows = axis_weights(*tile_and_overlap, at_start=top, at_end=bottom)
    cols = axis_weights(*tile_and_overlap, at_start=left, at_end=right)
    weights = np.outer(rows, cols)
    assert weights.dtype == np.float32
    assert weights.min() >= 1e-3
    assert weights.max() <= 1


@given(tiles_and_overlaps)
def test_a_side_on_the_scenes_border_has_no_taper(tile_and_overlap: tuple[int, int]) -> None:
    """Tiling rule 1."""
    tile_px, overlap_px = tile_and_overlap
    assert (axis_weights(tile_px, overlap_px, at_start=True, at_end=True) == 1).all()
    start = axis_weights(tile_px, overlap_px, at_start=True, at_end=False)
    assert (start[: tile_px - overlap_px] == 1).all()


def test_the_taper_is_smooth_and_as_wide_as_the_overlap() -> None:
    weights = axis_weights(64, 16, at_start=False, at_end=False)
    np.testing.assert_array_equal(weights, weights[::-1])
    assert (weights[16:48] == 1).all()
    assert (np.diff(weights[:16]) > 0).all()
    assert np.abs(np.diff(weights)).max() < 0.1  # pi / 2 / 16 at the steepest


def test_neighbours_hand_over_in_the_middle_of_their_overlap() -> None:
    left = axis_weights(64, 16, at_start=True, at_end=False)[-16:]
    right = axis_weights(64, 16, at_start=False, at_end=True)[:16]
    share = right / (left + right)
    np.testing.assert_allclose(share + share[::-1], 1, atol=1e-6)
    assert share[0] < 0.05
    assert share[-1] > 0.95
    # sin^2 of one side is cos^2 of the other's where both measure from pixel centres; the floor is in both.
    np.testing.assert_allclose(left + right, 1 + FLOOR, atol=1e-6)


def test_the_blend_is_the_weighted_mean_of_what_the_tiles_said() -> None:
    """Tiling rule 2: against float64 sums, divided exactly."""
    rng = np.random.default_rng(3)
    blender = BandBlender(20, 50)
    total, weight = np.zeros((20, 50)), np.zeros((20, 50))
    for col in (0, 7, 11, 30):
        probability = rng.random((20, 20), np.float32)
        rows, cols = rng.uniform(0.04, 1, (2, 20)).astype(np.float32)
        blender.add(probability, rows, cols, col)
        total[:, col : col + 20] += probability.astype(float) * np.outer(rows, cols)
        weight[:, col : col + 20] += np.outer(rows, cols)
    mean, _ = blender.take(20)
    np.testing.assert_allclose(mean, total / weight, atol=3e-7)


@given(st.floats(0, 1, width=32), st.integers(1, 300))
def test_tiles_that_agree_are_reported_to_the_last_bit_however_many(value: float, hits: int) -> None:
    """Tiling rules 2 and 9: float32, no bias, no overflow at 256 hits."""
    rng = np.random.default_rng(hits)
    blender = BandBlender(1, 1)
    for _ in range(hits):
        blender.add(
            np.full((1, 1), value, np.float32), rng.uniform(0.04, 1, 1).astype(np.float32), np.ones(1, np.float32), 0
        )
    assert blender.take(1)[0].item() == value


def test_a_blend_never_leaves_the_range_of_probability() -> None:
    rng = np.random.default_rng(5)
    blender = BandBlender(64, 64)
    for _ in range(40):
        blender.add(
            rng.integers(0, 2, (64, 64)).astype(np.float32),
            *rng.uniform(0.04, 1, (2, 64)).astype(np.float32),
            0,
        )
    mean, _ = blender.take(64)
    assert mean.min() >= 0
    assert mean.max() <= 1


@pytest.mark.parametrize("rows_px", [1, 3, 10])
def test_rows_taken_leave_the_band_and_new_rows_know_nothing(rows_px: int) -> None:
    blender = BandBlender(10, 4)
    ones = np.ones(10, np.float32)
    blender.add(np.repeat(np.linspace(0, 1, 10, dtype=np.float32)[:, None], 4, 1), ones, ones[:4], 0)
    blender.fail(10, 1, 3)
    first, failed = (taken.copy() for taken in blender.take(rows_px))  # the next call takes their memory
    rest, failed_rest = blender.take(10)
    np.testing.assert_array_equal(first[:, 0], np.linspace(0, 1, 10, dtype=np.float32)[:rows_px])
    np.testing.assert_array_equal(rest[: 10 - rows_px, 0], np.linspace(0, 1, 10, dtype=np.float32)[rows_px:])
    assert np.isnan(rest[10 - rows_px :]).all()
    assert failed[:, 3].all()
    assert not failed[:, :3].any()
    assert failed_rest.sum() == 10 - rows_px
