"""With the runtime's weights a map is the runtime's, and with any it is the weighted mean of what tiles say."""

from __future__ import annotations

import numpy as np
import pytest
from fake_tile_engines import RimEngine, SlopeEngine
from numpy.typing import NDArray

from kda_edge.benchmarks.seams.blend_weights import KINDS, shares_along_axis
from kda_edge.benchmarks.seams.blended_maps import blended_maps
from kda_edge.benchmarks.seams.tile_lines import MovedGrid, half_a_step
from kda_edge.errors import EngineError, SceneError
from kda_edge.tiling.pixels import ArraySource, Pixels
from kda_edge.tiling.predict import predict_array

TILE_PX = 32


def half(height_px: int, width_px: int) -> NDArray[np.float32]:
    """Pixels of 0 to 0.5."""
    return np.random.default_rng(3).uniform(0, 0.5, (height_px, width_px, 3)).astype(np.float32)


@pytest.mark.parametrize("size_px", [(20, 45), (100, 77), (96, 131)])
@pytest.mark.parametrize("overlap_px", [0, 8, 16])
def test_with_its_weights_and_its_grid_the_map_is_the_runtimes(size_px: tuple[int, int], overlap_px: int) -> None:
    image = half(*size_px)
    valid = np.ones(size_px, np.bool_)
    valid[: size_px[0] // 2, : size_px[1] // 2] = False
    grid = MovedGrid(*size_px, TILE_PX, overlap_px)
    made = blended_maps(ArraySource(image, valid), grid, SlopeEngine(), ("cosine",), batch=3)
    expected, _ = predict_array(image, valid, SlopeEngine(), TILE_PX, overlap_px)
    assert (made.valid == valid).all()
    assert made.probability["cosine"][valid] == pytest.approx(expected[valid], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_each_pixel_is_the_weighted_mean_of_what_its_tiles_say(kind: str) -> None:
    image = half(75, 64)
    grid = half_a_step(MovedGrid(75, 64, TILE_PX, 12))
    made = blended_maps(ArraySource(image), grid, SlopeEngine(), (kind, "equal"))
    down = shares_along_axis(kind, grid.rows, TILE_PX, 12, 75)
    across = shares_along_axis(kind, grid.cols, TILE_PX, 12, 64)
    expected = np.zeros((75, 64))
    for i, row in enumerate(grid.rows):
        for j, col in enumerate(grid.cols):
            tile = image[row : row + TILE_PX, col : col + TILE_PX].transpose(2, 0, 1)[None]
            answer = SlopeEngine()(tile)[0, 0]
            for y in range(TILE_PX):
                for x in range(TILE_PX):
                    expected[row + y, col + x] += float(down[i, y]) * float(across[j, x]) * float(answer[y, x])
    assert made.probability[kind] == pytest.approx(expected, abs=1e-6)


def test_tiles_without_data_are_not_counted_and_every_answer_is_shown() -> None:
    valid = np.zeros((64, 64), np.bool_)
    valid[:, 40:] = True
    shown = []
    made = blended_maps(
        ArraySource(half(64, 64), valid),
        MovedGrid(64, 64, TILE_PX),
        RimEngine(2),
        ("equal",),
        seen=lambda row, col, answer: shown.append((row, col, answer.shape)),
    )
    assert made.tiles == 2
    assert shown == [(0, 32, (32, 32)), (32, 32, (32, 32))]


def test_a_tile_without_an_answer_ends_it() -> None:
    def fails(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("out of memory")

    with pytest.raises(EngineError, match=r"row 0, column 0 failed \(RuntimeError: out of memory\)"):
        blended_maps(ArraySource(half(40, 40)), MovedGrid(40, 40, TILE_PX), fails, ("equal",))


def test_a_part_that_can_not_be_read_ends_it() -> None:
    class Damaged:
        def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
            lost = np.zeros((row1 - row0, col1 - col0), np.bool_)
            lost[-1, -1] = True
            return Pixels(np.ones((*lost.shape, 3), np.float32), ~lost, lost)

    with pytest.raises(SceneError, match="can't be read in rows 31 to 31, columns 39 to 39; copy the scene again"):
        blended_maps(Damaged(), MovedGrid(40, 40, TILE_PX), RimEngine(2), ("equal",))
