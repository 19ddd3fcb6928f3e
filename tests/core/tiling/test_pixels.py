"""A masked array is its pixels and where they are valid, wherever an image may come from."""

from __future__ import annotations

import numpy as np
import pytest

from kda_edge.tiling.fill_nodata import fill_nodata
from kda_edge.tiling.pixels import ArraySource, Pixels, unmasked
from kda_edge.tiling.predict import predict, predict_array
from kda_edge.tiling.tile_grid import TileGrid


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def constant(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.8, np.float32)


@pytest.mark.parametrize("masked_valid", [False, True])
@pytest.mark.parametrize("with_valid", [False, True])
def test_a_pixel_masked_in_any_band_is_not_valid_nor_is_one_that_valid_leaves_out(
    rng: np.random.Generator, with_valid: bool, masked_valid: bool
) -> None:
    pixels = rng.integers(0, 256, (7, 9, 3), np.uint8)
    mask = rng.random((7, 9, 3)) < 0.2
    valid = np.ma.masked_array(rng.random((7, 9)) < 0.7, rng.random((7, 9)) < (0.3 if masked_valid else 0))
    plain, known = unmasked(np.ma.masked_array(pixels, mask), valid if with_valid else None)
    assert type(plain) is np.ndarray
    assert plain.base is pixels or plain is pixels, "no copy"
    assert type(known) is np.ndarray
    for row in range(7):
        for col in range(9):
            expected = not any(mask[row, col])
            if with_valid:
                expected = expected and bool(valid.data[row, col]) and not np.ma.getmaskarray(valid)[row, col]
            assert known[row, col] == expected


def test_what_is_not_masked_stays_as_it_is(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
    assert unmasked(pixels)[0] is pixels
    assert unmasked(pixels)[1] is None
    plain, known = unmasked(np.ma.masked_array(pixels))
    assert type(plain) is np.ndarray
    assert known is None
    assert ArraySource(pixels).read(0, 4, 0, 4).valid.all()


def test_masked_images_are_filled_cut_and_predicted_as_plain_ones_with_a_valid_mask(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (50, 40, 3), np.uint8)
    mask = np.zeros(pixels.shape, bool)
    mask[:, :11, 1], mask[20, 20, 2] = True, True
    valid = ~mask.any(axis=2)
    image = np.ma.masked_array(pixels, mask)
    np.testing.assert_array_equal(fill_nodata(image, np.ones((50, 40), bool)), fill_nodata(pixels, valid))
    assert type(fill_nodata(image, valid)) is np.ndarray
    seen: list[np.ndarray] = []

    def engine(tiles: np.ndarray) -> np.ndarray:
        seen.append(tiles)
        return constant(tiles)

    probability, _ = predict_array(image, None, engine, 32, 8)
    expected, _ = predict_array(pixels, valid, engine, 32, 8)
    np.testing.assert_array_equal(probability, expected)
    np.testing.assert_array_equal(np.isnan(probability), ~valid)
    half = len(seen) // 2
    for ours, theirs in zip(seen[:half], seen[half:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_source_of_ones_own_may_give_masked_pixels(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
    mask = np.zeros(pixels.shape, bool)
    mask[5:9, 5:9] = True

    class Source:
        def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
            here = np.s_[row0:row1, col0:col1]
            return Pixels(np.ma.masked_array(pixels, mask)[here], np.ones((row1 - row0, col1 - col0), bool))

    (band, *_) = list(predict(Source(), TileGrid(40, 40, 64), constant))
    np.testing.assert_array_equal(np.isnan(band.probability), mask[..., 0])
