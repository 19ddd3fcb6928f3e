from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile

DTYPES = ("uint8", "uint16", "int16", "float32", "float64")
worlds = st.tuples(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.floats(0.02, 0.98))


def numbered(height: int, width: int, dtype: str) -> np.ndarray:
    """An image whose first two channels say which pixel a value comes from."""
    row, col = np.mgrid[:height, :width]
    return np.stack([row, col, np.full_like(row, 7)], axis=2).astype(dtype)


@given(worlds, st.sampled_from(DTYPES))
def test_a_hole_takes_the_nearest_valid_pixel_and_valid_pixels_stay(
    world: tuple[int, int, int, float], dtype: str
) -> None:
    """Tiling rule 13: against a search over all valid pixels; OpenCV's distances are good to 2 %."""
    height, width, seed, share = world
    valid = np.random.default_rng(seed).random((height, width)) < share
    valid.flat[seed % valid.size] = True
    image = numbered(height, width, dtype)
    before = image.copy()
    filled = fill_nodata(image, valid)

    assert filled.dtype == image.dtype
    assert filled.shape == image.shape
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(filled[valid], image[valid])
    donors = np.argwhere(valid)
    for row, col in np.argwhere(~valid):
        donor = filled[row, col, :2].astype(int)
        assert valid[tuple(donor)]
        nearest = np.hypot(*(donors - (row, col)).T).min()
        assert np.hypot(*(donor - (row, col))) <= nearest * 1.05
        assert filled[row, col, 2] == 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_in_any_band_is_a_hole(bad: float) -> None:
    """Tiling rule 12."""
    image = numbered(9, 9, "float32")
    image[4, 4, 1] = bad
    filled = fill_nodata(image, np.ones((9, 9), bool))
    assert np.isfinite(filled).all()
    assert tuple(filled[4, 4, :2]) in {(3, 4), (5, 4), (4, 3), (4, 5)}


def test_filling_is_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    image, valid = rng.integers(0, 255, (64, 64, 3), np.uint8), rng.random((64, 64)) < 0.1
    assert fill_nodata(image, valid).tobytes() == fill_nodata(image.copy(), valid.copy()).tobytes()


def gathered(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The same filling, every pixel of it gathered through its label."""
    _, labels = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    donors = {int(label): at for label, at in zip(labels[valid], np.argwhere(valid).tolist(), strict=True)}
    return np.array([[image[tuple(donors[int(label)])] for label in row] for row in labels])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planes", [False, True], ids=["pixels", "planes"])
def test_filling_holes_alone_gives_what_gathering_every_pixel_gives(dtype: str, planes: bool) -> None:
    rng = np.random.default_rng(3)
    for share in (0.03, 0.5, 0.99):
        image, valid = rng.integers(0, 255, (40, 33, 3)).astype(dtype), rng.random((40, 33)) < share
        stored = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0) if planes else image
        np.testing.assert_array_equal(fill_nodata(stored, valid), gathered(image, valid))


def test_a_tile_without_a_single_valid_pixel_becomes_zeros() -> None:
    filled = fill_nodata(np.full((4, 5, 3), np.nan, np.float32), np.ones((4, 5), bool))
    np.testing.assert_array_equal(filled, np.zeros((4, 5, 3), np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (7, 1), (2, 3), (5, 32), (17, 31), (31, 32), (32, 32)], ids=str)
def test_padding_reflects_as_opencv_and_numpy_do(size_hw: tuple[int, int], dtype: str) -> None:
    """Tiling rule 7."""
    image = numbered(*size_hw, dtype)
    padded = pad_to_tile(image, 32)
    below, right = 32 - size_hw[0], 32 - size_hw[1]
    np.testing.assert_array_equal(padded, cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101))
    if min(size_hw) > 1:
        np.testing.assert_array_equal(padded, np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect"))
    assert padded.dtype == image.dtype
