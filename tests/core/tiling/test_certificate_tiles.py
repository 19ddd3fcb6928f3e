from __future__ import annotations

import itertools

import numpy as np
import pytest
from places import BUNDLED

from kda_edge.artifact_bytes import metadata_of
from kda_edge.manifest import METADATA_KEY, InputContract, Manifest
from kda_edge.tiling.certificate_tiles import Tile, generated_terrain, generated_tiles

CONTRACTS = {
    "8 bit": InputContract(),
    "16 bit": InputContract(
        pixel_type="uint16", value_range=(100.0, 10000.0), mean=(2000.0, 2100.0, 2200.0), std=(500.0, 500.0, 500.0)
    ),
    "below zero": InputContract(
        pixel_type="int16", value_range=(-2000.5, 3000.5), mean=(0.0, 10.0, 20.0), std=(50.0, 50.0, 50.0)
    ),
    "reflectance": InputContract(
        pixel_type="float32", value_range=(0.0, 1.0), mean=(0.2, 0.3, 0.2), std=(0.1, 0.1, 0.1)
    ),
}


def named(contract: InputContract, tile_px: int = 64) -> dict[str, Tile]:
    tiles = generated_tiles(contract, tile_px)
    by_name = {tile.name: tile for tile in tiles}
    assert len(by_name) == len(tiles)
    return by_name


@pytest.mark.parametrize("tile_px", [32, 96])
@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_every_tile_is_what_imagery_of_the_contract_can_hold(contract: InputContract, tile_px: int) -> None:
    low, high = contract.value_range
    for tile in named(contract, tile_px).values():
        assert tile.pixels.dtype == np.float32
        assert tile.pixels.shape == (3, tile_px, tile_px)
        assert low <= tile.pixels.min() <= tile.pixels.max() <= high
        if contract.pixel_type != "float32" and tile.name != "nothing but the mean":
            assert np.array_equal(tile.pixels, np.rint(tile.pixels)), tile.name


def test_the_hostile_tiles_are_there_and_are_what_they_are_called() -> None:
    tiles = {name: tile.pixels for name, tile in named(InputContract()).items()}
    assert set(np.unique(tiles["all nodata, at the lowest value"])) == {0.0}
    assert set(np.unique(tiles["all saturated"])) == {255.0}
    assert np.mean(tiles["terrain, mostly saturated"] == 255.0) > 0.5
    assert np.all(tiles["terrain, one half nodata"][:, :, :32] == 0)
    assert np.all(tiles["terrain, one half nodata"][:, :, 32:].std(axis=(1, 2)) > 0)
    board = tiles["checkerboard of 1 px"]
    assert np.all(np.abs(np.diff(board, axis=1)) == 255)
    assert np.all(np.abs(np.diff(board, axis=2)) == 255)
    noise = tiles["white noise"]
    assert abs(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]) < 0.05
    gradient = tiles["gradient"]
    assert (gradient[0, 0, 0], gradient[0, -1, -1]) == (0, 255)
    assert np.all(np.diff(gradient, axis=2) >= 0)
    assert np.ptp(tiles["near-constant"]) == 2
    assert np.allclose(tiles["nothing but the mean"][:, 5, 7], InputContract().mean)


def test_terrain_has_detail_at_several_scales() -> None:
    """Averaging over 2, 4 and 8 px takes away variance every time and leaves some every time."""
    height = generated_terrain(1, 128).mean(axis=0)
    left = [height.reshape(128 // k, k, 128 // k, k).mean(axis=(1, 3)).var() for k in (1, 2, 4, 8, 16)]
    assert all(finer > 1.03 * coarser > 0 for finer, coarser in itertools.pairwise(left))


def test_the_same_size_gives_the_same_pixels_on_every_machine() -> None:
    tile = named(InputContract())["generated terrain 1"]
    assert tile.sha256 == "9f3c9c040dfac6f18d3261d322a0e536c7529b2f68d35bdf7fa5ddca5eb27562"
    assert tile.sha256 != named(InputContract())["generated terrain 2"].sha256


def test_the_digest_is_of_the_values_and_not_of_how_they_lie_in_memory() -> None:
    pixels = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    turned = np.asfortranarray(pixels).astype(">f4")
    assert Tile("a", pixels).sha256 == Tile("b", turned).sha256
    assert Tile("a", pixels).sha256 != Tile("a", pixels[:, ::-1]).sha256


def test_the_bundled_student_was_certified_on_these_very_pixels() -> None:
    """An engine that is tried on them is tried on what its model's certificate is about."""
    metadata = metadata_of(memoryview((BUNDLED / "student_lite0.onnx").read_bytes()))
    manifest = Manifest.from_json(metadata[METADATA_KEY])
    assert manifest.certificate is not None
    certified = {tile.tile: tile.sha256 for tile in manifest.certificate.tiles}
    made = {tile.name: tile.sha256 for tile in generated_tiles(manifest.input, manifest.tile_px)}
    assert {name: certified[name] for name in made} == made
