"""Engines that take turns on one clock, each with as many tiles a call as a scene gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.runtime.engines.in_turns import as_used, in_turns, most_tiles, times_in_turns

TILES = np.arange(7, dtype=np.float32).reshape(7, 1, 1, 1)


@dataclass
class Doubles:
    """Twice the tiles; notes how many it was given at once."""

    max_batch: int | None
    sizes: list[int] = field(default_factory=list)

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        self.sizes.append(len(tiles))
        return tiles * 2


@pytest.mark.parametrize(("max_batch", "sizes"), [(None, [1] * 7), (1, [1] * 7), (4, [4, 3]), (9, [7])])
def test_an_engine_is_given_as_many_tiles_a_call_as_it_asks_for(max_batch: int | None, sizes: list[int]) -> None:
    engine = Doubles(max_batch)
    np.testing.assert_array_equal(as_used(engine)(TILES), TILES * 2)
    assert engine.sizes == sizes


def test_the_most_tiles_are_those_of_the_engine_that_takes_most() -> None:
    assert most_tiles([Doubles(None)]) == 1
    assert most_tiles([Doubles(None), Doubles(8), Doubles(4)]) == 8


def test_an_engine_that_does_not_say_its_batch_is_no_engine_of_one_tile_a_call() -> None:
    class Misspelt:
        max_batches = 8

        def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            return tiles

    for asks in (as_used, lambda engine: most_tiles([engine])):
        with pytest.raises(AttributeError, match="max_batch"):
            asks(Misspelt())


def test_each_is_called_once_a_round_and_only_rounds_after_the_warm_up_count() -> None:
    now_s, order, progress = [0.0], list[str](), list[tuple[int, int]]()

    def taking(name: str, *seconds: float) -> Any:
        left = iter(seconds)

        def call(*_: object) -> None:
            order.append(name)
            now_s[0] += next(left)

        return call

    calls = [taking("a", 9, 1, 3), taking("b", 9, 2, 2)]
    times_ms = times_in_turns(
        calls,
        rounds=2,
        warm_up=1,
        clock=lambda: now_s[0],
        progress=lambda done, total: progress.append((done, total)),
    )
    assert order == ["a", "b"] * 3
    assert progress == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_allclose(times_ms, [[1000, 2000], [3000, 2000]])
    engines = [taking("a", 1, 5, 3), taking("b", 2, 2, 2)]
    assert in_turns(engines, TILES, rounds=3, warm_up=0, clock=lambda: now_s[0]) == [3000, 2000]
