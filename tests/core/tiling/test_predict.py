from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kda_edge.tiling.blend import axis_weights
from kda_edge.tiling.fill_nodata import fill_nodata, pad_to_tile
from kda_edge.tiling.pixels import ArraySource, Pixels
from kda_edge.tiling.predict import Band, predict, predict_array
from kda_edge.tiling.tile_grid import TileGrid

TOPS = {"uint8": 255, "uint16": 65535, "int16": 32767, "float32": 1}
PATTERNS = ("none", "speckle", "cut", "ragged", "nan", "almost_all", "all")


@dataclass(frozen=True)
class World:
    """A scene to tile: what it holds follows from these alone."""

    height: int
    width: int
    tile: int
    overlap: int
    dtype: str = "uint8"
    pattern: str = "none"
    seed: int = 0

    @property
    def top(self) -> int:
        return TOPS[self.dtype]

    def scene(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        image = (rng.random((self.height, self.width, 3)) * self.top).astype(self.dtype)
        row, col = np.mgrid[: self.height, : self.width]
        valid = {
            "none": np.ones_like(row, bool),
            "speckle": rng.random(row.shape) < 0.7,
            "cut": col * 3 + row > self.width,
            "ragged": col > self.width * (0.4 + 0.3 * np.sin(row / 5)),
            "nan": rng.random(row.shape) < 0.9,
            "almost_all": (row == self.height // 2) & (col == self.width // 3),
            "all": np.zeros_like(row, bool),
        }[self.pattern]
        if self.dtype == "float32":
            image[~valid] = np.nan
        else:
            image[~valid] = 0
        return image, valid


@st.composite
def worlds(draw: st.DrawFn) -> World:
    tile = draw(st.sampled_from([1, 2, 7, 16, 32]))
    strides = st.integers(max(1, tile // 4), tile)
    near = st.sampled_from([1, tile - 1, tile, tile + 1, 2 * tile - 1, 2 * tile + 1]).filter(lambda side: side > 0)
    side = st.one_of(st.integers(1, 90 if tile > 2 else 12), near)
    return World(
        draw(side),
        draw(side),
        tile,
        tile - draw(strides),
        draw(st.sampled_from(sorted(TOPS))),
        draw(st.sampled_from(PATTERNS)),
        draw(st.integers(0, 999)),
    )


def constant(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.8, np.float32)


def position(tiles: np.ndarray) -> np.ndarray:
    """Answer by the place in the tile and by what is there, so that no two tiles agree."""
    size = tiles.shape[2]
    ramp = np.add.outer(np.arange(size), 2 * np.arange(size)) / (3 * size)
    return ((np.abs(np.sin(tiles.sum(axis=1, keepdims=True))) + ramp) / 2).astype(np.float32)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(worlds())
@example(World(700, 500, 32, 8, "uint8", "none"))
@example(World(209, 225, 64, 16, "uint8", "none"))
def test_the_constant_engine_gives_its_constant_on_every_valid_pixel_and_nothing_elsewhere(world: World) -> None:
    """Tiling rules 1 to 5 and 9 to 12."""
    image, valid = world.scene()
    probability, failed = predict_array(image, valid, constant, world.tile, world.overlap)
    np.testing.assert_array_equal(probability, np.where(valid, np.float32(0.8), np.float32(np.nan)))
    assert probability.dtype == np.float32
    assert not failed.any()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(worlds())
@example(World(209, 225, 64, 16, "float32", "ragged"))
def test_the_identity_engine_gives_back_the_first_band(world: World) -> None:
    """Tiling rules 1 to 9: to 1e-6 everywhere, corners included."""
    image, valid = world.scene()
    probability, _ = predict_array(
        image, valid, lambda tiles: tiles[:, :1] / np.float32(world.top), world.tile, world.overlap
    )
    np.testing.assert_array_equal(np.isnan(probability), ~valid)
    np.testing.assert_allclose(probability[valid], image[valid][:, 0].astype(float) / world.top, atol=1e-6, rtol=0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(worlds())
def test_the_stream_equals_the_blend_of_all_tiles_over_the_whole_scene(world: World) -> None:
    """Against the slow way: every tile in float64 sums as large as the scene, divided once."""
    image, valid = world.scene()
    height, width = valid.shape
    total, weight = np.zeros(valid.shape), np.zeros(valid.shape)
    for row, col in TileGrid(height, width, world.tile, world.overlap):
        here = np.s_[row : row + world.tile, col : col + world.tile]
        if not valid[here].any():
            continue
        tile = pad_to_tile(fill_nodata(image[here], valid[here]), world.tile).astype(np.float32)
        answer = position(tile.transpose(2, 0, 1)[None])[0, 0]
        weights = np.outer(
            axis_weights(world.tile, world.overlap, at_start=row == 0, at_end=row + world.tile >= height),
            axis_weights(world.tile, world.overlap, at_start=col == 0, at_end=col + world.tile >= width),
        )
        h, w = valid[here].shape
        total[here] += answer[:h, :w] * weights[:h, :w].astype(float)
        weight[here] += weights[:h, :w]
    probability, _ = predict_array(image, valid, position, world.tile, world.overlap)
    np.testing.assert_allclose(probability[valid], total[valid] / weight[valid], atol=2e-6)


@pytest.mark.parametrize("overlap", [0, 16, 31])
def test_tiles_laid_over_one_another_a_thousand_times_stay_exact(overlap: int) -> None:
    """Tiling rule 9: 8-bit pixels, up to 1 024 tiles over each."""
    probability, _ = predict_array(np.full((70, 70, 3), 200, np.uint8), None, constant, 32, overlap)
    assert (probability == np.float32(0.8)).all()


@dataclass
class Recorder:
    """An engine that keeps what it was given."""

    seen: list[np.ndarray] = field(default_factory=list)

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        self.seen.extend(tiles.copy())
        return constant(tiles)


def test_a_pixel_reaches_the_engine_as_it_is_whatever_its_tile_holds() -> None:
    """Tiling rule 8: no range is guessed; the same pixel in a dark and a bright tile gives the same tensor."""
    image = np.zeros((32, 64, 3), np.uint16)
    image[:, 32:] = 40000
    image[5, 5] = image[5, 37] = (1, 300, 9000)
    engine = Recorder()
    predict_array(image, None, engine, 32, 0)
    dark, bright = engine.seen
    assert dark.dtype == np.float32
    np.testing.assert_array_equal(dark[:, 5, 5], [1, 300, 9000])
    np.testing.assert_array_equal(bright[:, 5, 5], [1, 300, 9000])


def test_tiles_without_a_valid_pixel_never_reach_the_engine_and_holes_reach_it_filled() -> None:
    """Tiling rule 13."""
    image = np.zeros((32, 128, 3), np.uint8)
    image[:, 70:] = 90
    valid = np.zeros((32, 128), bool)
    valid[:, 70:] = True
    engine = Recorder()
    probability, failed = predict_array(image, valid, engine, 32, 0)
    assert len(engine.seen) == 2
    assert all((tile == 90).all() for tile in engine.seen)
    assert np.isnan(probability[:, :70]).all()
    assert not failed.any()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 40), (31, 2), (31, 31)], ids=str)
def test_a_scene_smaller_than_a_tile_is_padded_by_reflection_never_stretched(size_hw: tuple[int, int]) -> None:
    """Tiling rules 5, 6 and 7."""
    image = np.random.default_rng(1).integers(1, 255, (*size_hw, 3), np.uint8)
    engine = Recorder()
    probability, _ = predict_array(image, None, engine, 64, 16)
    assert probability.shape == size_hw
    (tile,) = engine.seen
    np.testing.assert_array_equal(tile, pad_to_tile(image, 64).transpose(2, 0, 1))
    assert tile.min() > 0


@dataclass
class RowSource:
    """A scene of any height that exists only where it is read, and notes what is."""

    width: int
    reads: list[tuple[int, int, int, int]] = field(default_factory=list)

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        self.reads.append((row0, row1, col0, col1))
        rows = (np.arange(row0, row1) % 256).astype(np.uint8)[:, None, None]
        image = np.broadcast_to(rows, (row1 - row0, col1 - col0, 3)).copy()
        return Pixels(image, np.ones(image.shape[:2], bool))


@pytest.mark.parametrize("height", [1, 31, 32, 33, 200, 209])
def test_each_row_is_read_once_in_order_and_yielded_once_in_order(height: int) -> None:
    source = RowSource(50)
    bands = list(predict(source, TileGrid(height, 50, 32, 8), lambda tiles: tiles[:, :1] / 255))
    assert [row for row0, row1, *_ in source.reads for row in range(row0, row1)] == list(range(height))
    assert {cols for *_, cols in source.reads} == {50}
    assert [band.row_px + i for band in bands for i in range(len(band.probability))] == list(range(height))
    column = np.concatenate([band.probability[:, 0] for band in bands])
    np.testing.assert_allclose(column, np.arange(height) % 256 / 255, atol=1e-6)


def test_memory_does_not_grow_with_the_scenes_height() -> None:
    def peak(height: int) -> int:
        tracemalloc.start()
        for _ in predict(RowSource(256), TileGrid(height, 256, 64, 16), constant):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(6000) < 1.1 * peak(600) + 200_000


@pytest.mark.parametrize("overlap", [0, 8])
def test_batch_size_changes_no_byte_and_no_tile_is_asked_twice(overlap: int) -> None:
    """Tiling rule 23."""
    image, valid = World(100, 170, 32, overlap, "uint8", "ragged", 3).scene()
    grid = TileGrid(100, 170, 32, overlap)
    sizes: list[int] = []

    def engine(tiles: np.ndarray) -> np.ndarray:
        sizes.append(len(tiles))
        return position(tiles)

    one, eight = (
        np.concatenate([b.probability for b in predict(ArraySource(image, valid), grid, engine, batch=n)]).tobytes()
        for n in (1, 8)
    )
    assert one == eight
    assert set(sizes) - {1}, "the second run must have used batches"


def test_progress_counts_every_tile_up_to_the_last() -> None:
    image, valid = World(100, 100, 32, 8, "uint8", "cut").scene()
    valid[:40] = False
    calls: list[tuple[int, int]] = []
    grid = TileGrid(100, 100, 32, 8)
    list(predict(ArraySource(image, valid), grid, constant, progress=lambda *call: calls.append(call)))
    assert calls == sorted(calls)
    assert calls[-1] == (len(grid), len(grid))
    assert {total for _, total in calls} == {len(grid)}


def test_a_scene_without_a_valid_pixel_needs_no_engine() -> None:
    def never(tiles: np.ndarray) -> np.ndarray:
        raise AssertionError

    bands: list[Band] = list(
        predict(ArraySource(*World(40, 40, 16, 0, "uint8", "all").scene()), TileGrid(40, 40, 16), never)
    )
    assert all(np.isnan(band.probability).all() and not band.failed.any() for band in bands)
