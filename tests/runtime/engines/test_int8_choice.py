from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kda_edge.certificate import Calibration, Latency
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import Artifact, read_artifact
from kda_edge.runtime.engines.in_turns import ROUNDS, WARM_UP, example_tiles, side_by_side
from kda_edge.runtime.engines.int8_choice import (
    FASTER_BY,
    decided,
    explanation,
    find_fallback,
    is_worth_it,
    needs_proof,
)

INT8: dict[str, Any] = {
    "precision": "int8",
    "target": "tensorrt",
    "calibration": Calibration("minmax", 0, {"dark": 1}, ("ab" * 32,)),
}


class FakeTime:
    """A clock in seconds that engines move; `turns` says who moved it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.turns: list[str] = []

    def __call__(self) -> float:
        return self.now_s

    def engine(self, name: str, durations_ms: Callable[[int], float]) -> Callable[[np.ndarray], np.ndarray]:
        def run(tiles: np.ndarray) -> np.ndarray:
            self.now_s += durations_ms(self.turns.count(name)) / 1000
            self.turns.append(name)
            return tiles[:, :1]

        return run


def test_the_medians_are_those_of_the_counted_runs_which_alternate() -> None:
    clock = FakeTime()
    slow_start = [500.0] * WARM_UP
    first_ms = [*slow_start, *np.random.default_rng(0).uniform(1, 2, ROUNDS)]
    second_ms = [*slow_start, *np.random.default_rng(1).uniform(3, 9, ROUNDS)]
    found = side_by_side(
        clock.engine("A", first_ms.__getitem__),
        clock.engine("B", second_ms.__getitem__),
        np.zeros((1, 3, 32, 32), np.float32),
        clock=clock,
    )
    assert found == pytest.approx((statistics.median(first_ms[WARM_UP:]), statistics.median(second_ms[WARM_UP:])))
    assert clock.turns == ["A", "B"] * (WARM_UP + ROUNDS)
    assert ROUNDS >= 30


def test_a_device_that_slows_down_slows_both_alike() -> None:
    clock = FakeTime()
    a, b = (clock.engine(name, lambda turn: 1.0 + turn / 10) for name in "AB")
    first_ms, second_ms = side_by_side(a, b, np.zeros((1, 3, 32, 32), np.float32), clock=clock)
    assert first_ms == pytest.approx(second_ms)


@pytest.mark.parametrize(
    ("int8_ms", "other_ms", "expected"),
    [(8.4, 10.0, True), (8.6, 10.0, False), (10.0, 10.0, False), (12.0, 10.0, False)],
)
def test_int8_must_save_fifteen_percent(int8_ms: float, other_ms: float, expected: bool) -> None:
    assert FASTER_BY == 0.15
    assert is_worth_it(int8_ms, other_ms) is expected
    assert decided({"int8": int8_ms, "fp16": other_ms}, "fp16") is expected
    line = explanation({"int8": int8_ms, "fp16": other_ms}, "fp16", "student_fp16.onnx")
    assert f"{int8_ms:.2f} ms against {other_ms:.2f} ms of FP16" in line
    assert ("student_fp16.onnx is used in its place" in line) is not expected
    assert "\n" not in line


@pytest.mark.parametrize("known", [{}, {"int8": 3.0}, {"fp16": 3.0}, {"int8": 3.0, "fp32": 9.0}], ids=str)
def test_without_both_figures_nothing_is_decided(known: dict[str, float]) -> None:
    assert decided(known, "fp16") is None


def test_only_an_int8_model_of_unknown_latency_needs_proof(make_manifest: Callable[..., Manifest]) -> None:
    int8 = make_manifest(**INT8)
    assert needs_proof(int8)
    assert needs_proof(dataclasses.replace(int8, certificate=None))
    assert not needs_proof(make_manifest(precision="fp16"))
    assert int8.certificate is not None
    timed = dataclasses.replace(int8.certificate, latency=Latency("TensorRT", "a GPU", 30, 1.0, "fp16", 2.0))
    assert not needs_proof(dataclasses.replace(int8, certificate=timed))


def test_the_fallback_beside_the_model_is_found(make_model: Callable[..., Path]) -> None:
    half = make_model(precision="fp16")
    int8 = make_model(**INT8, fallback=half.name)
    found = find_fallback(int8, read_artifact(int8).manifest)
    assert isinstance(found, Artifact)
    assert found.path == half


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (None, "put gone.onnx of the same export beside"),
        ({"precision": "fp16", "checkpoint_sha256": "cd" * 32}, "another checkpoint"),
        ({"precision": "fp16", "tile_px": 64}, "another checkpoint or tile"),
        (INT8, "INT8 too"),
        ({"precision": "fp16", "certified": False}, "can't be used"),
    ],
    ids=["missing", "checkpoint", "tile", "int8", "unverified"],
)
def test_why_there_is_nothing_to_compare_with_is_one_line(
    make_model: Callable[..., Path], other: dict[str, Any] | None, said: str
) -> None:
    name = "gone.onnx" if other is None else make_model(**other).name
    int8 = make_model(**INT8, fallback=name)
    line = find_fallback(int8, read_artifact(int8).manifest)
    assert isinstance(line, str)
    assert line.startswith("that INT8 is faster here is not proven")
    assert said in line
    assert "\n" not in line


def test_a_model_that_names_no_fallback_says_how_to_get_one(make_model: Callable[..., Path]) -> None:
    int8 = make_model(**INT8)
    line = find_fallback(int8, read_artifact(int8).manifest)
    assert isinstance(line, str)
    assert "export it again" in line


def test_the_tiles_to_time_on_are_the_models_and_the_same_each_time(make_manifest: Callable[..., Manifest]) -> None:
    manifest = make_manifest(pixel_type="uint16", value_range=(100.0, 3000.0))
    tiles = example_tiles(manifest, 5)
    assert tiles.shape == (5, 3, 32, 32)
    assert tiles.dtype == np.float32
    assert 100 <= tiles.min() < 300
    assert 2800 < tiles.max() <= 3000
    np.testing.assert_array_equal(tiles, example_tiles(manifest, 5))
