from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from kda_edge.errors import EngineError
from kda_edge.tiling.pixels import ArraySource
from kda_edge.tiling.predict import predict, predict_array
from kda_edge.tiling.tile_grid import TileGrid


def constant(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.8, np.float32)


@dataclass
class Faulty:
    """An engine that spoils its answer to tiles which hold the value 13, a number of times."""

    how: str
    times: int
    calls: int = 0

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        answer = constant(tiles)
        for i, tile in enumerate(tiles):
            if (tile == 13).any() and self.times > 0:
                self.times -= 1
                if self.how == "raise":
                    raise RuntimeError("out of memory\nsecond line")
                if self.how == "shape":
                    return answer[:, :, 1:]
                answer[i, 0, 3, 3] = {"nan": np.nan, "inf": np.inf, "above": 1.01, "below": -0.5}[self.how]
        return answer


FAULTS = ("raise", "shape", "nan", "inf", "above", "below")


def faulty_scene() -> tuple[ArraySource, TileGrid]:
    """Four by four tiles of 32 px that overlap by 8; only the tile at (24, 24) holds the value 13."""
    image = np.full((104, 104, 3), 50, np.uint8)
    image[40, 40] = 13
    return ArraySource(image), TileGrid(104, 104, 32, 8)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("how", FAULTS)
def test_a_tile_that_fails_once_is_tried_again_and_nothing_is_missing(how: str, batch: int) -> None:
    bands = list(predict(*faulty_scene(), Faulty(how, times=1), batch=batch))
    assert all((band.probability == np.float32(0.8)).all() for band in bands)
    assert not any(band.failed.any() or band.failures for band in bands)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("how", FAULTS)
def test_a_tile_that_fails_twice_is_marked_and_never_becomes_background(how: str, batch: int) -> None:
    """Tiling rule 19: unknown where it alone lies, marked wherever it lies, right everywhere else."""
    bands = list(predict(*faulty_scene(), Faulty(how, times=99), batch=batch))
    probability = np.concatenate([band.probability for band in bands])
    failed = np.concatenate([band.failed for band in bands])
    touched, alone = np.zeros((104, 104), bool), np.zeros((104, 104), bool)
    touched[24:56, 24:56] = True
    alone[32:48, 32:48] = True
    np.testing.assert_array_equal(failed, touched)
    np.testing.assert_array_equal(probability, np.where(alone, np.float32(np.nan), np.float32(0.8)))
    (failure,) = (failure for band in bands for failure in band.failures)
    assert (failure.row_px, failure.col_px) == (24, 24)
    assert "\n" not in failure.reason


def test_rounding_just_past_the_range_of_probability_is_cut_off_not_failed() -> None:
    probability, failed = predict_array(
        np.zeros((8, 8, 3), np.uint8), None, lambda t: constant(t) * np.float32(1.2500001), 8, 0
    )
    assert (probability == 1).all()
    assert not failed.any()


@pytest.mark.parametrize("how", FAULTS)
def test_an_engine_that_answers_no_tile_is_an_error(how: str) -> None:
    image = np.full((50, 50, 3), 13, np.uint8)
    with pytest.raises(EngineError, match="all 9 tiles") as caught:
        predict_array(image, None, Faulty(how, times=99), 32, 16)
    assert "\n" not in str(caught.value)


def test_a_stop_from_the_keyboard_is_not_a_failed_tile() -> None:
    def interrupted(tiles: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_array(np.zeros((8, 8, 3), np.uint8), None, interrupted, 8, 0)
