"""Tiles of the example scene suit any model: another range of values, another size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import rasterio
from places import BUNDLED

from kda_edge.manifest import Manifest
from kda_edge.runtime.parity.example_scene import TILES_MAX, example_scene_tiles


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    with rasterio.open(BUNDLED / "example_scene.tif") as dataset:
        return np.asarray(dataset.read())


def corner_of(name: str) -> tuple[int, int]:
    _, row, column = name.split(", ")
    return int(row.removeprefix("row ")), int(column.removeprefix("column "))


def test_tiles_of_an_8_bit_model_are_the_scenes_own_pixels_where_it_has_data(
    make_manifest: Callable[..., Manifest], pixels: np.ndarray
) -> None:
    tiles = example_scene_tiles(make_manifest(tile_px=256))
    assert 8 <= len(tiles) <= TILES_MAX
    assert len({tile.sha256 for tile in tiles}) == len(tiles)
    for tile in tiles:
        row, col = corner_of(tile.name)
        there = pixels[:, row : row + 256, col : col + 256]
        valid = (there > 0).all(axis=0)
        assert valid.any()
        np.testing.assert_array_equal(tile.pixels[:, valid], there[:, valid])


@pytest.mark.parametrize(
    ("pixel_type", "value_range"), [("uint16", (0.0, 10000.0)), ("float32", (-1.0, 1.0)), ("int16", (-100.0, 3000.0))]
)
def test_a_model_of_another_range_gets_the_8_bits_mapped_linearly_onto_it(
    make_manifest: Callable[..., Manifest], pixel_type: str, value_range: tuple[float, float]
) -> None:
    low, high = value_range
    own = example_scene_tiles(make_manifest())
    mapped = example_scene_tiles(make_manifest(pixel_type=pixel_type, value_range=value_range))
    assert [tile.name for tile in mapped] == [tile.name for tile in own]
    for tile, eight_bits in zip(mapped, own, strict=True):
        expected = low + (high - low) * eight_bits.pixels.astype(np.float64) / 255
        np.testing.assert_allclose(tile.pixels, expected, atol=1e-5 * (high - low))


def test_a_tile_larger_than_the_scene_is_filled_up(make_manifest: Callable[..., Manifest], pixels: np.ndarray) -> None:
    (tile,) = example_scene_tiles(make_manifest(tile_px=1024))
    assert tile.pixels.shape == (3, 1024, 1024)
    valid = (pixels > 0).all(axis=0)
    np.testing.assert_array_equal(tile.pixels[:, :640, :1000][:, valid], pixels[:, valid])
