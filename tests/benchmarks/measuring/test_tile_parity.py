"""Answers are held to a budget tile by tile, alone and among others, on tiles that are the certificate's."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.benchmarks.measuring.tile_parity import BUDGETS, budget_of, parities, require_digests
from kda_edge.errors import EngineError
from kda_edge.export.config import IOU_POINTS, MAX_ABS
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.tile_comparison import beyond, trial_tiles
from kda_edge.tiling.certificate_tiles import Tile

TILES = [Tile(name, np.full((3, 2, 2), value, np.float32)) for name, value in (("a", 0), ("b", 1), ("c", 2))]


def constant(value: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    return lambda tiles: np.full((len(tiles), 1, 2, 2), value, np.float32)


@pytest.fixture
def manifest() -> Manifest:
    return read_artifact(None).manifest


def test_all_tiles_of_the_bundled_students_certificate_are_tried_with_its_very_pixels(manifest: Manifest) -> None:
    tiles = trial_tiles(manifest)
    assert require_digests(tiles, manifest.certificate) == len(tiles) - 1  # the runtime adds one of its own
    (noise,) = (tile for tile in tiles if tile.name == "white noise")
    with pytest.raises(EngineError, match="'white noise' is not the certificate's"):
        require_digests([dataclasses.replace(noise, pixels=noise.pixels + 1)], manifest.certificate)
    assert require_digests(tiles, None) == 0


def test_budgets_are_those_of_an_export_and_of_the_certificate_where_there_is_one(manifest: Manifest) -> None:
    for precision in ("fp32", "fp16"):
        assert BUDGETS[precision].max_abs == MAX_ABS[precision]
        assert BUDGETS[precision].iou_points == IOU_POINTS[precision]
    assert manifest.certificate is not None
    assert budget_of(manifest) == manifest.certificate.budget


def test_each_tile_is_tried_alone_and_among_others_and_the_reference_asked_once(manifest: Manifest) -> None:
    asked: Counter[bytes] = Counter()
    batches = []

    def reference(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        asked[tiles.tobytes()] += 1
        return constant(0.25)(tiles)

    def other(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        batches.append(len(tiles))
        return constant(0.25 if len(tiles) == 1 else 0.75)(tiles)  # wrong in batches alone

    rows = parities(TILES, reference, other, manifest, batches=(1, 4))
    assert batches == [1, 1, 1, 3]
    assert list(asked.values()) == [1, 1, 1]
    assert [(row.tile, row.max_abs) for row in rows] == [
        *(("a", 0.0), ("b", 0.0), ("c", 0.0)),
        *(("a, among 4", 0.5), ("b, among 4", 0.5), ("c, among 4", 0.5)),
    ]
    assert beyond(rows[:3], BUDGETS["fp32"]) == ""
    assert "on the tile 'a, among 4'" in beyond(rows, BUDGETS["fp32"])


def test_a_complaint_tells_what_is_allowed_and_the_worst_tile(manifest: Manifest) -> None:
    def mixed(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        answer = constant(0.1)(tiles)
        answer[tiles[:, :1] == 1] = 0.9  # tile b changes class
        return answer

    rows = parities(TILES, constant(0.1), mixed, manifest, batches=(1,))
    by_class, by_value = beyond(rows, BUDGETS["fp16"]), beyond(rows, BUDGETS["fp32"])
    assert by_class == "on the tile 'b' 100.00% of the pixels change class, 0.1% are allowed"
    assert by_value == "on the tile 'b' the probability differs by 0.8, 0.0001 is allowed"


@pytest.mark.parametrize("value", [np.nan, 1.5])
def test_what_is_no_probability_is_an_error_that_names_the_tile(value: float, manifest: Manifest) -> None:
    with pytest.raises(EngineError, match="tile 'a'"):
        parities(TILES, constant(0.5), constant(value), manifest)
