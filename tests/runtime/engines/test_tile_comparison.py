"""Two engines on the same tiles: how far they lie apart is told tile by tile, in the batches of a scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.errors import EngineError
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.tile_comparison import compared_on, probe_tile, trial_tiles
from kda_edge.tiling.certificate_tiles import Tile, generated_tiles
from kda_edge.tiling.tile_answers import Engine

BATCHES = (1, 3, 4, 50)


def red(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    return tiles[:, :1] / np.float32(255)


def wrong_on(pixels: NDArray[np.float32], by: float) -> Engine:
    """The red band, but for one tile, where every other row is off."""

    def engine(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = red(tiles).copy()
        for tile, mine in zip(tiles, answer, strict=True):
            if np.array_equal(tile, pixels):
                mine[:, ::2] = np.abs(mine[:, ::2] - np.float32(by))
        return answer

    return engine


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", range(14))
def test_a_fault_on_one_kind_of_tile_is_found_there_and_nowhere_else(
    kind: int, batch: int, make_manifest: Callable[..., Manifest]
) -> None:
    """Held to the slow obvious comparison of each tile on its own."""
    manifest = make_manifest(threshold=0.39)
    tiles = trial_tiles(manifest)
    faulty = wrong_on(tiles[kind].pixels, 0.3)
    found = compared_on(tiles, red, faulty, manifest, batch=batch)
    assert [(one.tile, one.sha256) for one in found] == [(tile.name, tile.sha256) for tile in tiles]
    for tile, one in zip(tiles, found, strict=True):
        expected, answer = red(tile.pixels[None]), faulty(tile.pixels[None])
        assert one.max_abs == pytest.approx(np.abs(expected - answer).max(), abs=1e-7)
        assert one.mean_abs == pytest.approx(np.abs(expected - answer).mean(), abs=1e-7)
        assert one.agreement == np.mean((expected >= np.float32(0.39)) == (answer >= np.float32(0.39)))
        assert (one.max_abs > 0) == (one.tile == tiles[kind].name)


@pytest.mark.parametrize("batch", BATCHES)
def test_the_engine_that_is_tried_gets_the_batches_of_a_scene_and_the_other_one_tile_a_call(
    batch: int, make_manifest: Callable[..., Manifest]
) -> None:
    sizes: dict[str, list[int]] = {"reference": [], "other": []}

    def noting(name: str) -> Engine:
        def engine(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            sizes[name].append(len(tiles))
            return red(tiles)

        return engine

    manifest = make_manifest()
    tiles = trial_tiles(manifest)
    compared_on(tiles, noting("reference"), noting("other"), manifest, batch=batch)
    assert sizes["reference"] == [1] * len(tiles)
    assert sizes["other"] == [len(tiles[first : first + batch]) for first in range(0, len(tiles), batch)]


@pytest.mark.parametrize("fault", ["breaks", "nan", "shape", "above 1"])
@pytest.mark.parametrize("role", ["reference", "other"])
def test_an_engine_without_an_answer_to_a_tile_is_told_in_one_line_with_the_tile(
    role: str, fault: str, make_manifest: Callable[..., Manifest]
) -> None:
    manifest = make_manifest()
    (board,) = (tile.pixels for tile in trial_tiles(manifest) if tile.name == "checkerboard of 1 px")

    def broken(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = red(tiles).copy()
        if any(np.array_equal(tile, board) for tile in tiles):
            if fault == "breaks":
                raise RuntimeError("no such kernel\nand more")
            answer[:, :, 0, 0] = np.nan if fault == "nan" else 1.5
            return answer[..., 1:] if fault == "shape" else answer
        return answer

    engines = (broken, red) if role == "reference" else (red, broken)
    with pytest.raises(EngineError, match="no answer to the tile 'checkerboard of 1 px'") as caught:
        compared_on(trial_tiles(manifest), *engines, manifest, batch=4)
    assert "\n" not in str(caught.value)


def test_the_tiles_that_are_tried_are_those_of_certificates_and_one_of_waves_and_noise(
    make_manifest: Callable[..., Manifest],
) -> None:
    manifest = make_manifest()
    tiles = trial_tiles(manifest)
    assert [tile.sha256 for tile in tiles[:-1]] == [tile.sha256 for tile in generated_tiles(manifest.input, 32)]
    assert isinstance(tiles[-1], Tile)
    assert np.array_equal(tiles[-1].pixels, probe_tile(manifest)[0])


def test_the_tile_of_waves_and_noise_covers_the_models_values(make_manifest: Callable[..., Manifest]) -> None:
    tile = probe_tile(make_manifest(pixel_type="uint16", value_range=(100.0, 10000.0)))
    assert (tile.shape, tile.dtype) == ((1, 3, 32, 32), np.float32)
    for half in (tile[..., :16], tile[..., 16:]):
        assert 100 <= half.min() < 1000
        assert 9000 < half.max() <= 10000
