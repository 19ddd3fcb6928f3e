from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.certificate import TileParity
from kda_edge.errors import ParityError
from kda_edge.export.verifying.parity import Reference, measured_parity, worst_tile
from kda_edge.tiling.certificate_tiles import Tile

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
TILES = [Tile(f"tile {i}", np.full((3, 4, 4), i / 10, np.float32)) for i in range(5)]


def reference(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability is the first band: 0, 0.1, 0.2 ..."""
    return np.array(tiles[:, :1])


def off_by(difference: float, *, on: int, where: tuple[int, int] = (1, 2)) -> Answer:
    """The reference but for one pixel of one tile."""

    def answer(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        out = reference(tiles).astype(np.float64)
        out[tiles[:, 0, 0, 0] == np.float32(on / 10), 0, where[0], where[1]] += difference
        return out.astype(np.float32)

    return answer


def measure(graph: Answer, against: Answer = reference, threshold: float = 0.5) -> tuple[TileParity, ...]:
    return measured_parity(graph, Reference(against, TILES), threshold=threshold)


def test_equal_answers_have_no_distance_and_full_agreement() -> None:
    parity = measure(reference)
    assert [(tile.max_abs, tile.mean_abs, tile.agreement) for tile in parity] == [(0, 0, 1)] * 5
    assert [tile.tile for tile in parity] == [tile.name for tile in TILES]
    assert [tile.sha256 for tile in parity] == [tile.sha256 for tile in TILES]


def test_figures_are_those_of_one_wrong_pixel_in_sixteen() -> None:
    parity = measure(off_by(0.25, on=3))
    worst = worst_tile(parity)
    assert worst.tile == "tile 3"
    assert worst.max_abs == pytest.approx(0.25, abs=2e-6)
    assert worst.mean_abs == pytest.approx(0.25 / 16, abs=2e-6)
    assert worst.agreement == pytest.approx(15 / 16, abs=2e-6)  # 0.3 + 0.25 passes the threshold
    assert [tile.max_abs for tile in parity if tile.tile != "tile 3"] == [0] * 4


def test_the_reference_answers_each_tile_once_however_many_graphs_are_compared() -> None:
    asked: list[int] = []

    def counting(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(len(tiles))
        return reference(tiles)

    shared = Reference(counting, TILES)
    for _ in range(3):
        measured_parity(reference, shared, threshold=0.5)
    measured_parity(reference, shared.on(TILES[1:2]), threshold=0.5)
    assert asked == [1] * 5


@pytest.mark.parametrize("difference", [1e-9, 3.2e-7, 1.2e-6, 5.05e-5])
def test_figures_are_rounded_up_to_whole_steps_never_down(difference: float) -> None:
    figure = measure(off_by(difference, on=0))[0].max_abs
    assert difference <= figure < difference + 1e-6
    assert figure * 1e6 == pytest.approx(round(figure * 1e6), abs=1e-9)


def test_a_graph_that_is_wrong_only_in_a_batch_is_found() -> None:
    def wrong_in_a_batch(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return reference(tiles)[::-1] if len(tiles) > 1 else reference(tiles)

    assert worst_tile(measure(wrong_in_a_batch)).max_abs == pytest.approx(0.2, abs=2e-6)


def test_a_graph_that_is_wrong_only_alone_is_found() -> None:
    def wrong_alone(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(reference(tiles) + np.float32(0.1) * (len(tiles) == 1))

    assert worst_tile(measure(wrong_alone)).max_abs == pytest.approx(0.1, abs=2e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01], ids=str)
@pytest.mark.parametrize("who", ["graph", "reference"])
def test_an_answer_that_is_no_probability_is_refused_though_both_agree(value: float, who: str) -> None:
    def broken(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full_like(tiles[:, :1], value)

    with pytest.raises(ParityError, match="no probability"):
        measure(broken, broken if who == "reference" else reference)


def test_an_answer_of_another_shape_is_refused() -> None:
    with pytest.raises(ParityError, match="shape"):
        measure(lambda tiles: tiles[:, :1, ::2])
    with pytest.raises(ParityError, match="shape"):
        measure(lambda tiles: tiles[:1, :1])
