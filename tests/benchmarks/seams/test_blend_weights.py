"""Blend weights of every kind share each pixel among its tiles, and each kind is what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.benchmarks.seams.blend_weights import KINDS, shares_along_axis
from kda_edge.benchmarks.seams.tile_lines import MovedGrid, half_a_step
from kda_edge.errors import UsageError
from kda_edge.tiling.blend import FLOOR

TILE_PX = 32


def spread(kind: str, starts: tuple[int, ...], overlap_px: int, length_px: int) -> NDArray[np.float32]:
    """Return the shares at their place in the scene, (tiles, length)."""
    shares = shares_along_axis(kind, starts, TILE_PX, overlap_px, length_px)
    placed = np.zeros((len(starts), length_px + TILE_PX), np.float32)
    for number, start in enumerate(starts):
        placed[number, start : start + TILE_PX] = shares[number]
    assert not placed[:, length_px:].any()  # nothing beyond the scene
    return placed[:, :length_px]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overlap_px", [0, 8, 16, 24])
def test_the_shares_of_a_pixel_add_up_to_1(kind: str, overlap_px: int) -> None:
    for length_px in (1, 20, 32, 33, 75, 129):
        grid = MovedGrid(length_px, 1, TILE_PX, overlap_px)
        for starts in (grid.rows, half_a_step(grid).rows):
            shares = spread(kind, starts, overlap_px, length_px)
            assert shares.sum(axis=0) == pytest.approx(np.ones(length_px), abs=1e-6)
            assert shares.min() >= 0


def test_equal_shares_are_those_of_a_plain_mean() -> None:
    shares = spread("equal", (0, 24), 8, 56)
    assert shares[0].tolist() == [1.0] * 24 + [0.5] * 8 + [0.0] * 24


def test_middle_gives_a_pixel_to_the_tile_whose_border_is_farther_away() -> None:
    shares = spread("middle", (0, 24), 8, 56)
    assert shares[0].tolist() == [1.0] * 28 + [0.0] * 28


def test_linear_falls_in_a_straight_line_from_one_tile_to_the_other() -> None:
    shares = spread("linear", (0, 24), 8, 56)
    ramp = FLOOR + (1 - FLOOR) * (np.arange(8) + 0.5) / 8
    assert shares[1, 24:32] == pytest.approx(ramp / (ramp + ramp[::-1]))


def test_cosine_is_the_raised_cosine_of_the_runtime() -> None:
    shares = spread("cosine", (0, 24), 8, 56)
    ramp = FLOOR + (1 - FLOOR) * np.sin((np.arange(8) + 0.5) / 8 * np.pi / 2) ** 2
    assert shares[1, 24:32] == pytest.approx(ramp / (ramp + ramp[::-1]), abs=1e-6)


def test_gaussian_falls_from_a_tiles_middle_by_an_eighth_of_its_side() -> None:
    starts = (0, 24, 48, 72)
    from_middle_px = np.abs(np.arange(24, 32) + 0.5 - np.asarray([[16.0], [40.0]]))
    weights = np.exp(-0.5 * (from_middle_px / 4) ** 2)
    assert spread("gaussian", starts, 8, 104)[:2, 24:32] == pytest.approx(weights / weights.sum(axis=0), abs=1e-6)


def test_a_kind_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(UsageError, match="'hann'; give some of cosine"):
        shares_along_axis("hann", (0,), 32, 8, 32)
