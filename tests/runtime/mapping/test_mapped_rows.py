"""Rows of a map are the same bytes however they are computed: in parts, by many readers, in batches, fast or slow."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sources import PATTERNS, TOPS, MadeSource, Opener, our_threads, position

from kda_edge.errors import EngineError, UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime.map_format import FAILED_TILE, NODATA, class_bytes, probability_bytes
from kda_edge.runtime.mapping.mapped_rows import Bounds, mapped_rows
from kda_edge.runtime.mapping.rows import Counts, MappedRows, Rows
from kda_edge.tiling.predict import predict
from kda_edge.tiling.tile_grid import TileGrid

Engine = Callable[[np.ndarray], np.ndarray]


def picky(tiles: np.ndarray) -> np.ndarray:
    """Fail on tiles by what they hold: about one of five, the same ones whatever the batch."""
    answer = position(tiles)
    spoilt = np.floor(tiles.mean(axis=(1, 2, 3), dtype=np.float64) * 1000) % 5 == 0
    answer[spoilt, 0, 0, 0] = np.nan
    return answer


def constant(tiles: np.ndarray) -> np.ndarray:
    return np.full((len(tiles), 1, *tiles.shape[2:]), 0.8, np.float32)


ENGINES: dict[str, Engine] = {"position": position, "picky": picky, "constant": constant}


@dataclass(frozen=True)
class World:
    """A scene, a grid and an engine."""

    source: MadeSource
    tile: int
    overlap: int
    engine: str

    @property
    def grid(self) -> TileGrid:
        return TileGrid(self.source.height_px, self.source.width_px, self.tile, self.overlap)

    def rows(self, manifest: Manifest, **how: Any) -> list[MappedRows]:
        return list(mapped_rows(Opener(self.source), self.grid, ENGINES[self.engine], manifest, **how))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    tile = draw(st.sampled_from([8, 32, 64]))
    near = st.sampled_from([1, tile - 1, tile, tile + 1, 2 * tile + 1])
    source = MadeSource(
        draw(st.one_of(near, st.integers(1, 200))),
        draw(st.one_of(near, st.integers(1, 90))),
        draw(st.sampled_from(PATTERNS)),
        draw(st.integers(0, 2)),
        draw(st.sampled_from(sorted(TOPS))),
        draw(st.integers(0, 999)),
        draw(st.sampled_from([(1, 1), (200, 16), (16, 32)])),
    )
    return World(source, tile, draw(st.integers(0, tile * 3 // 4)), draw(st.sampled_from(sorted(ENGINES))))


def joined(parts: list[MappedRows]) -> tuple[np.ndarray, Counts, list[Any]]:
    """Return all layers, the sum of all counts, and all failures."""
    for above, below in itertools.pairwise(parts):
        assert above.row_px + above.layers.shape[1] == below.row_px
    layers = np.concatenate([part.layers for part in parts], axis=1)
    counts = sum((part.counts for part in parts), Counts())
    return layers, counts, [failure for part in parts for failure in part.failures]


@settings(max_examples=120)
@given(
    world=worlds(),
    cuts=st.lists(st.integers(1, 199), max_size=6),
    readers=st.integers(1, 3),
    batch=st.integers(1, 5),
    ahead=st.integers(1, 4),
)
def test_parts_readers_and_batches_change_no_byte_and_no_count(
    make_manifest: Callable[..., Manifest], world: World, cuts: list[int], readers: int, batch: int, ahead: int
) -> None:
    """Tiling rule 23, with holes, lost pixels and an engine that fails on some tiles."""
    manifest, height = make_manifest(), world.source.height_px
    try:
        whole = joined(world.rows(manifest))
    except EngineError:
        return  # of the whole scene alone
    bounds = sorted({0, height, *(cut for cut in cuts if cut < height)})
    parts = [
        rows
        for first, end in itertools.pairwise(bounds)
        for rows in world.rows(
            manifest,
            wanted=Rows(first, end),
            bounds=Bounds(batch, readers, ahead),
            block_hw=world.source.block_hw,
        )
    ]
    again = joined(parts)
    np.testing.assert_array_equal(again[0], whole[0])
    assert again[1:] == whole[1:]


@settings(max_examples=80)
@given(world=worlds())
def test_threads_give_what_the_plain_loop_gives(make_manifest: Callable[..., Manifest], world: World) -> None:
    """Against `predict` over the whole image, and against what the scene holds."""
    manifest, source = make_manifest(), world.source
    try:
        layers, counts, failures = joined(world.rows(manifest))
    except EngineError:
        with pytest.raises(EngineError, match=r"all|the only tile"):
            list(predict(source, world.grid, ENGINES[world.engine]))
        return
    bands = list(predict(source, world.grid, ENGINES[world.engine]))
    probability = np.concatenate([band.probability for band in bands])
    failed = np.concatenate([band.failed for band in bands])
    classes = class_bytes(probability, manifest.threshold)
    np.testing.assert_array_equal(layers[0], classes)
    np.testing.assert_array_equal(layers[1], probability_bytes(probability))
    np.testing.assert_array_equal((layers[2] & NODATA) > 0, source.nodata)
    np.testing.assert_array_equal((layers[2] & FAILED_TILE) > 0, failed & ~source.nodata)
    unknown = (classes == 255) & ~source.nodata
    assert (counts.valid_px, counts.landslide_px) == (source.valid.sum(), (classes == 1).sum())
    assert counts.unknown_px == unknown.sum()
    assert failures == [failure for band in bands for failure in band.failures]


@pytest.mark.parametrize("tile", [32, 64])
def test_pixels_that_can_not_be_read_are_unknown_and_failed_never_nodata_or_background(
    make_manifest: Callable[..., Manifest], tile: int
) -> None:
    """Tiling rule 19: and every tile that touches one counts as failed, with the place in its reason."""
    source = MadeSource(200, 150, lost_blocks=1, seed=4)
    rows, cols = (np.flatnonzero(source.lost.any(axis=axis)) for axis in (1, 0))
    grid = TileGrid(200, 150, tile, 8)
    asked: list[np.ndarray] = []

    def engine(tiles: np.ndarray) -> np.ndarray:
        asked.extend(tiles)
        return constant(tiles)

    layers, counts, failures = joined(list(mapped_rows(Opener(source), grid, engine, make_manifest())))
    classes, probability, qa = layers
    assert (classes[source.lost] == 255).all()
    assert (probability[source.lost] == 255).all()
    assert (qa[source.lost] & (FAILED_TILE | NODATA) == FAILED_TILE).all()
    touched = np.zeros_like(source.lost)
    hit = [(row, col) for row, col in grid if source.lost[row : row + tile, col : col + tile].any()]
    for row, col in hit:
        touched[row : row + tile, col : col + tile] = True
    np.testing.assert_array_equal((qa & FAILED_TILE) > 0, touched)
    assert (classes[~touched] == 1).all()
    assert [(failure.row_px, failure.col_px) for failure in failures] == hit
    assert any(f"rows {rows[0]} to {rows[-1]}, columns {cols[0]} to {cols[-1]}" in f.reason for f in failures)
    assert len(asked) == len(grid) - len(hit) == counts.asked_tiles
    assert counts.unknown_px >= source.lost.sum()


@pytest.mark.parametrize(("first", "end"), [(0, 0), (5, 5), (9, 3), (-1, 10), (0, 101)])
def test_rows_that_the_scene_does_not_have_are_refused(
    make_manifest: Callable[..., Manifest], first: int, end: int
) -> None:
    with pytest.raises(UsageError, match="rows"):
        World(MadeSource(100, 40), 32, 8, "constant").rows(make_manifest(), wanted=Rows(first, end))


def test_progress_ends_with_every_tile_of_the_part(make_manifest: Callable[..., Manifest]) -> None:
    calls: list[tuple[int, int]] = []
    world = World(MadeSource(100, 100, "stripe"), 32, 8, "constant")
    world.rows(make_manifest(), wanted=Rows(30, 60), progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert {total for _, total in calls} == {3 * 4}  # rows of tiles at 0, 24 and 48
    assert calls[-1] == (12, 12)


def test_a_whole_scene_without_an_answer_is_an_error_and_a_part_of_it_is_told(
    make_manifest: Callable[..., Manifest],
) -> None:
    def never(tiles: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of memory")

    source, grid = MadeSource(100, 40), TileGrid(100, 40, 32, 8)
    with pytest.raises(EngineError, match=r"all 8 tiles .*out of memory"):
        list(mapped_rows(Opener(source), grid, never, make_manifest()))
    part = list(mapped_rows(Opener(source), grid, never, make_manifest(), wanted=Rows(50, 100)))
    _, counts, failures = joined(part)
    assert counts == replace(counts, tiles=len(failures), asked_tiles=len(failures), answered_tiles=0)
    assert our_threads() == []


def test_rows_are_told_of_before_they_are_handed_out(make_manifest: Callable[..., Manifest]) -> None:
    world = World(MadeSource(200, 70, PATTERNS[0], 0, sorted(TOPS)[0], 1, (16, 32)), 32, 8, "position")
    told: list[MappedRows] = []
    rows = mapped_rows(Opener(world.source), world.grid, position, make_manifest(), finished=told.append)
    for number, part in enumerate(rows):
        assert told[number] is part
    assert len(told) == number + 1 > 1

    def refuse(part: MappedRows) -> None:
        if part.row_px:
            raise UsageError("no room")

    refused = mapped_rows(Opener(world.source), world.grid, position, make_manifest(), finished=refuse)
    assert next(refused).row_px == 0
    with pytest.raises(UsageError, match="no room"):
        list(refused)
    assert not our_threads()
