"""An image in memory: what is masked, or said to be without data, is nowhere a landslide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kda_edge.errors import UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime import Segmenter


def landslide_everywhere(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.9, np.float32)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("with_valid", [False, True])
def test_masked_pixels_have_no_probability(
    make_manifest: Callable[..., Manifest], dtype: str, with_valid: bool
) -> None:
    """By pixel and by band, together with `valid`; what lies under the mask may be anything."""
    rng = np.random.default_rng(0)
    manifest = make_manifest(pixel_type=dtype, value_range=(0, 255))
    pixels = rng.integers(0, 256, (70, 50, 3)).astype(dtype)
    mask = np.zeros(pixels.shape, bool)
    mask[:20], mask[30:40, 10:20, 1] = True, True
    if dtype == "float32":
        pixels[mask] = np.nan
    valid = np.ones((70, 50), bool)
    valid[:, 45:] = not with_valid
    prediction = Segmenter(landslide_everywhere, manifest).predict(
        np.ma.masked_array(pixels, mask), valid=valid if with_valid else None
    )
    expected = ~mask.any(axis=2) & valid
    np.testing.assert_array_equal(prediction.mask, np.where(expected, 1, 255))
    np.testing.assert_array_equal(np.isnan(prediction.probability), ~expected)
    assert type(prediction.probability) is np.ndarray


def test_a_float_beside_the_mask_must_still_be_a_number(make_manifest: Callable[..., Manifest]) -> None:
    pixels = np.full((8, 8, 3), np.nan, np.float32)
    segmenter = Segmenter(landslide_everywhere, make_manifest(pixel_type="float32", value_range=(0, 1)))
    mask = np.ones(pixels.shape, bool)
    assert np.isnan(segmenter.predict(np.ma.masked_array(pixels, mask)).probability).all()
    mask[3, 3] = False
    with pytest.raises(UsageError, match="NaN or infinity"):
        segmenter.predict(np.ma.masked_array(pixels, mask))
