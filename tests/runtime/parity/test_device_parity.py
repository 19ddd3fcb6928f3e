"""How far an engine may lie from the CPU: what its certificate allows, and never so far that a constant passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kda_edge.certificate import Budget, Calibration, Certificate, TileParity
from kda_edge.errors import NoAnswer
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.tile_comparison import trial_tiles
from kda_edge.runtime.parity.device_parity import DeviceParity, device_budget, parity_with_cpu
from kda_edge.runtime.parity.example_scene import example_scene_tiles

Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Device:
    """An engine of a function; `batches` are the tiles of each call."""

    def __init__(self, function: Function, max_batch: int | None = None) -> None:
        self.function, self.max_batch = function, max_batch
        self.batches: list[int] = []

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(tiles))
        return self.function(tiles)


def certified(manifest: Callable[..., Manifest], budget: Budget, max_abs: float, **fields: object) -> Manifest:
    tiles = (TileParity("noise", "cd" * 32, max_abs, 0.0, 1.0),)
    return manifest(certificate=Certificate("00" * 32, budget, tiles), **fields)


def red(low: float = 0.0, high: float = 1.0) -> Function:
    return lambda tiles: np.float32(low) + np.float32(high - low) * tiles[:, :1] / np.float32(255)


def measured(cpu: Function, other: Device, manifest: Manifest) -> DeviceParity:
    return parity_with_cpu(cpu, other, manifest, engine="cuda", sampling="gather", depends_on={"driver": "1"})


def test_the_budget_of_fp32_is_its_certificates_largest_difference(make_manifest: Callable[..., Manifest]) -> None:
    assert device_budget(certified(make_manifest, Budget(max_abs=1e-4), 2e-6), 1.0) == Budget(max_abs=1e-4)
    assert device_budget(certified(make_manifest, Budget(max_abs=3e-3), 2e-6), 1.0) == Budget(max_abs=3e-3)


@pytest.mark.parametrize(("at_export", "allowed"), [(2.4e-3, 0.05), (0.11, 0.22), (0.9, 0.25)])
def test_lower_precision_may_change_as_many_pixels_as_its_certificate_allows_and_lie_twice_as_far_as_at_export(
    make_manifest: Callable[..., Manifest], at_export: float, allowed: float
) -> None:
    fp16 = certified(make_manifest, Budget(iou_points=0.1), at_export, precision="fp16")
    found = device_budget(fp16, 1.0)
    assert (found.max_abs, found.iou_points) == (pytest.approx(allowed), 0.1)
    int8 = {"precision": "int8", "calibration": Calibration("minmax", 0, {"dark": 1}, ("ab" * 32,))}
    budget = Budget(iou_points=0.5, faster_by=0.15)
    found = device_budget(certified(make_manifest, budget, at_export, **int8), 1.0)
    assert (found.max_abs, found.iou_points, found.faster_by) == (pytest.approx(allowed), 0.5, None)


def test_a_model_without_a_certificate_has_what_an_export_allows_unless_told_otherwise(
    make_manifest: Callable[..., Manifest],
) -> None:
    assert device_budget(make_manifest(certificate=None), 1.0) == Budget(max_abs=1e-4)
    assert device_budget(make_manifest(certificate=None, precision="fp16"), 1.0) == Budget(0.05, 0.5)


@given(low=st.floats(0, 0.98), spread=st.floats(1e-3, 1), answer=st.floats(0, 1))
def test_an_engine_that_answers_the_same_everywhere_is_over_budget_whatever_the_model_answers(
    make_manifest: Callable[..., Manifest], low: float, spread: float, answer: float
) -> None:
    high = min(1.0, low + spread)
    manifest = certified(make_manifest, Budget(max_abs=1.0, iou_points=100.0), 0.0, precision="fp16")
    off = max(abs(high - answer), abs(low - answer))
    assert off > (device_budget(manifest, high - low).max_abs or 0)


@pytest.mark.parametrize("low_high", [(0.0, 1.0), (0.0, 0.04), (0.93, 0.95)])
def test_collapsed_half_precision_is_found_where_no_pixel_changes_class(
    make_manifest: Callable[..., Manifest], low_high: tuple[float, float]
) -> None:
    manifest = certified(make_manifest, Budget(iou_points=0.1), 1e-3, precision="fp16")
    constant = Device(lambda tiles: np.full_like(tiles[:, :1], low_high[0]))
    assert "the probability differs" in measured(red(*low_high), constant, manifest).against_it
    assert measured(red(*low_high), Device(red(*low_high)), manifest).against_it == ""


def test_all_tiles_go_through_in_the_batches_of_a_scene_and_the_record_tells_all_of_it(
    make_manifest: Callable[..., Manifest],
) -> None:
    manifest = certified(make_manifest, Budget(max_abs=1e-4), 1e-6)
    device = Device(red(), 4)
    found = measured(red(), device, manifest)
    assert (found.engine, found.sampling, found.batch, found.depends_on) == ("cuda", "gather", 4, {"driver": "1"})
    assert sum(device.batches) == len(found.tiles) > 20
    assert device.batches[:-1] == [4] * (len(device.batches) - 1)
    assert all(tile.max_abs == tile.mean_abs == 0 and tile.agreement == 1 for tile in found.tiles)
    assert found.against.startswith("ONNX Runtime ")
    assert "\n" not in found.to_json()


@pytest.mark.parametrize("kind", ["terrain, one half nodata", "waves and noise", "example_scene.tif, row "])
def test_a_fault_on_one_kind_of_tile_alone_is_found_there(make_manifest: Callable[..., Manifest], kind: str) -> None:
    manifest = certified(make_manifest, Budget(iou_points=0.1), 1e-3, precision="fp16")
    tiles = [*trial_tiles(manifest), *example_scene_tiles(manifest)]
    faulty = [tile for tile in tiles if tile.name.startswith(kind)][-1]

    def answer(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        here = (pixels == faulty.pixels).all(axis=(1, 2, 3))
        return np.clip(red()(pixels) - np.float32(0.2) * here[:, None, None, None], 0, 1)

    said = measured(red(), Device(answer, 4), manifest).against_it
    assert said.startswith(f"on the tile {faulty.name!r} the probability differs by ")


def test_answers_that_are_no_numbers_are_no_answers(make_manifest: Callable[..., Manifest]) -> None:
    with pytest.raises(NoAnswer, match="nan"):
        measured(red(), Device(lambda tiles: tiles[:, :1] * np.float32("nan")), make_manifest())


@pytest.mark.parametrize("wrong", [{"tiles": ()}, {"batch": 0}, {"sampling": "nearest"}])
def test_a_record_that_can_not_be_is_refused(wrong: dict[str, object]) -> None:
    facts = {"tiles": (TileParity("a", "ab" * 32, 0, 0, 1),), "batch": 1, "sampling": "gather"} | wrong
    with pytest.raises(ValueError, match="no parity"):
        DeviceParity("cuda", "a CPU", budget=Budget(max_abs=0.1), **facts)  # type: ignore[arg-type]
