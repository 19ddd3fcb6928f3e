"""A scene at another ground sampling distance: exact places, means over exact areas, the same bytes however cut."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from kda_edge.errors import SceneError, UsageError
from kda_edge.manifest import InputContract
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.scenes.resampled import Resampled
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.pixels import Pixels


class Arrays:
    """A source in memory with damage."""

    def __init__(self, image: np.ndarray, valid: np.ndarray, lost: np.ndarray | None = None) -> None:
        self.image, self.mask, self.lost = image, valid, lost
        self.height_px, self.width_px = valid.shape
        self.block_hw, self.warnings = (16, 16), ["a sentence"]

    def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
        here = np.s_[row0:row1, col0:col1]
        return Pixels(self.image[here], self.mask[here], None if self.lost is None else self.lost[here])


def world(seed: int, dtype: str, height: int = 37, width: int = 53) -> Arrays:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        image = rng.normal(100, 30, (height, width, 3)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        image = rng.integers(limits.min, limits.max, (height, width, 3), dtype, endpoint=True)
    valid = rng.random((height, width)) < rng.choice([0.3, 0.8, 1.0])
    if image.dtype.kind == "f":
        image[~valid] = np.nan
    lost = (rng.random((height, width)) < 0.01) & True if seed % 2 else None
    if lost is not None:
        valid &= ~lost
    return Arrays(image, valid, lost)


def whole(source: Resampled) -> Pixels:
    return source.read(0, source.height_px, 0, source.width_px)


def axis_weights(number: int, factor: Fraction, length: int) -> dict[int, Fraction]:
    """The weights of one pixel along one side, in exact numbers."""
    if factor >= 1:
        low, high = number * factor, (number + 1) * factor
        parts = {i: min(high, i + 1) - max(low, i) for i in range(math.floor(low), math.ceil(high))}
    else:
        centre = (number + Fraction(1, 2)) * factor - Fraction(1, 2)
        below = math.floor(centre)
        parts = {below: 1 - (centre - below), below + 1: centre - below}
    return {i: weight for i, weight in parts.items() if 0 <= i < length and weight > 0}


def slow(source: Arrays, factor: Fraction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, validity and losses, pixel by pixel."""
    height, width = math.ceil(source.height_px / factor), math.ceil(source.width_px / factor)
    image, valid, lost = np.zeros((height, width, 3)), np.zeros((height, width), bool), np.zeros((height, width), bool)
    for row in range(height):
        down = axis_weights(row, factor, source.height_px)
        for col in range(width):
            across = axis_weights(col, factor, source.width_px)
            total, held, value = Fraction(0), Fraction(0), np.zeros(3)
            for i, wi in down.items():
                for j, wj in across.items():
                    total += wi * wj
                    if source.lost is not None and source.lost[i, j]:
                        lost[row, col] = True
                    if source.mask[i, j]:
                        held += wi * wj
                        value += float(wi * wj) * source.image[i, j].astype(np.float64)
            if held * 2 > total:
                image[row, col] = value / float(held)
                valid[row, col] = not lost[row, col]
    return image, valid, lost


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize(
    "factor", [Fraction(2), Fraction(8, 5), Fraction(13, 2), Fraction(5, 8), Fraction(1, 3)], ids=str
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_pixel_is_the_mean_of_what_it_covers_and_no_pixel_without_data_is_in_it(
    dtype: str, factor: Fraction, seed: int
) -> None:
    source = world(seed, dtype, 11, 16)
    image, valid, lost = whole(Resampled(source, float(factor)))
    expected, expected_valid, expected_lost = slow(source, factor)
    np.testing.assert_array_equal(valid, expected_valid)
    np.testing.assert_array_equal(np.zeros_like(valid) if lost is None else lost, expected_lost)
    assert image.dtype == dtype
    step = 0.501 if image.dtype.kind in "iu" else 2e-3
    np.testing.assert_allclose(image[valid].astype(np.float64), expected[valid], atol=step, rtol=0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 20),
    st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    st.floats(0.15, 9.0),
    st.lists(st.integers(0, 400), max_size=5),
    st.lists(st.integers(0, 400), max_size=5),
)
def test_windows_hold_the_same_bytes_however_rows_and_columns_are_cut(
    seed: int, dtype: str, factor: float, row_cuts: list[int], col_cuts: list[int]
) -> None:
    """Tiling rule 23; GDAL's own resampling does not keep it at the borders of windows."""
    source = Resampled(world(seed, dtype), factor)
    image, valid, lost = whole(source)
    lost = np.zeros_like(valid) if lost is None else lost
    rows = sorted({0, source.height_px, *(cut for cut in row_cuts if cut < source.height_px)})
    cols = sorted({0, source.width_px, *(cut for cut in col_cuts if cut < source.width_px)})
    for row0, row1 in itertools.pairwise(rows):
        for col0, col1 in itertools.pairwise(cols):
            part = source.read(row0, row1, col0, col1)
            here = np.s_[row0:row1, col0:col1]
            assert np.ascontiguousarray(part.image).tobytes() == np.ascontiguousarray(image[here]).tobytes()
            np.testing.assert_array_equal(part.valid, valid[here])
            np.testing.assert_array_equal(np.zeros_like(part.valid) if part.lost is None else part.lost, lost[here])


def test_large_windows_are_averaged_in_chunks_of_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Resampled(world(3, "uint8", 200, 150), 3.7)
    at_once = whole(source)
    monkeypatch.setattr("kda_edge.runtime.scenes.resampled.CHUNK_PX", 900)
    in_chunks = whole(source)
    for one, other in zip(at_once, in_chunks, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_wide_file_is_read_block_by_block_and_not_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL's cache need only hold four blocks for each to be decoded once, not the forty beside each other."""

    class Watched(Arrays):
        reads: tuple[set[tuple[int, int]], ...] = ()  # the blocks of each

        def read(self, row0: int, row1: int, col0: int, col1: int) -> Pixels:
            rows, cols = range(row0 // 16, -(-row1 // 16)), range(col0 // 16, -(-col1 // 16))
            self.reads += (set(itertools.product(rows, cols)),)
            return super().read(row0, row1, col0, col1)

    monkeypatch.setattr("kda_edge.runtime.scenes.resampled.CHUNK_PX", 4 * 16 * 16)
    made = world(2, "uint8", 64, 640)
    source = Watched(made.image, made.mask)
    for row in range(0, 16, 4):  # windows that are a block high
        Resampled(source, 4.0).read(row, row + 4, 0, 160)
    assert set().union(*source.reads) == set(itertools.product(range(4), range(40)))
    for block in set().union(*source.reads):
        first, *_, last = (number for number, blocks in enumerate(source.reads) if block in blocks)
        assert len(set().union(*source.reads[first : last + 1])) <= 4


@pytest.mark.parametrize("factor", [0.4, 1.0 + 1e-5, 2.5, 40.0])
def test_flat_ground_stays_flat_to_its_last_row_and_column(factor: float) -> None:
    source = Arrays(np.full((41, 67, 3), 201, np.uint8), np.ones((41, 67), bool))
    image, valid, lost = whole(Resampled(source, factor))
    assert (image == 201).all()
    assert valid.all()
    assert lost is None
    assert image.shape[:2] == (math.ceil(41 / factor), math.ceil(67 / factor))


METRE = InputContract(gsd_m=(1.0, 4.0))


@pytest.mark.parametrize(
    ("transform", "resample", "factor"),
    [
        (Affine(0.25, 0, 469205.3, 0, -0.25, 3446192.3), "trained", 4.0),
        (Affine(0.25, 0, 469205.3, 0, 0.25, 3446192.3), "trained", 4.0),
        (Affine(8, 0, 469205.3, 0, -8, 3446192.3), "trained", 0.5),
        (Affine(0.5, 0, 469205.3, 0, -0.125, 3446192.3), 1.0, 4.0),
        (Affine(0.15, 0.2, 469205.3, 0.2, -0.15, 3446192.3), "trained", 4.0),
        (Affine(2, 0, 469205.3, 0, -2, 3446192.3), "trained", 1.0),
        (Affine(2, 0, 469205.3, 0, -2, 3446192.3), 3.0, 1.5),
    ],
    ids=["finer", "south-up", "coarser", "not square", "rotated", "within", "metres"],
)
def test_a_resampled_pixel_is_a_whole_factor_of_the_scenes_from_the_same_corner(
    tmp_path: Path, scene_at: Callable[..., Any], transform: Affine, resample: Any, factor: float
) -> None:
    """Tiling rule 15: the pixel is factor times the source's, not the extent over the rounded size."""
    file = scene_at(tmp_path / "s.tif", np.full((61, 83, 3), 9, np.uint8), transform=transform)
    with gdal_session(), open_scene(file.path, METRE, resample=resample) as scene:
        assert scene.factor == pytest.approx(factor, rel=1e-12)
        assert (scene.height_px, scene.width_px) == (math.ceil(61 / factor), math.ceil(83 / factor))
        a, b, c, d, e, f = transform[:6]
        k = scene.factor
        assert scene.transform[:6] == (a * k, b * k, c, d * k, e * k, f)
        assert scene.gsd_m == pytest.approx(math.sqrt(abs(a * e - b * d)) * factor)
        notes = " ".join(scene.notes(np.array([99]), 0))
        assert ("the scene was read at" in notes) is (factor != 1)
        assert ("no detail finer than 8 m" in notes) is (factor < 1)
        image, valid, _ = scene.read(0, scene.height_px, 0, scene.width_px)
        assert valid.all()
        assert (image == 9).all()


def test_the_same_metres_give_the_same_grid_as_the_trained_end_that_they_are(
    tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    """A shard says at how many metres it was made; its map must have the transform of one that said `trained`."""
    transform = Affine(0.37, 0, 469205.3, 0, -0.37, 3446192.3)
    path = scene_at(tmp_path / "s.tif", np.full((61, 83, 3), 9, np.uint8), transform=transform).path
    with gdal_session(), open_scene(path, METRE, resample="trained") as one:
        assert one.gsd_m is not None
        with open_scene(path, METRE, resample=one.gsd_m) as other:
            assert (one.factor, one.transform, one.height_px) == (other.factor, other.transform, other.height_px)


def test_metres_are_those_on_the_ground_however_the_projection_stretches_it(
    tmp_path: Path, scene_at: Callable[..., Any]
) -> None:
    """Web Mercator at 68 degrees north, where 30 units are 11.2 m: the same scene as in UTM, and no coarser."""
    transform = Affine(30, 0, 2.2e6, 0, -30, 10_444_000)  # latitude 68.0
    path = scene_at(tmp_path / "s.tif", np.full((60, 80, 3), 9, np.uint8), crs="EPSG:3857", transform=transform).path
    ground_m = 30 * math.cos(math.radians(68))
    with gdal_session(), open_scene(path, METRE) as scene:
        assert scene.gsd_m == pytest.approx(ground_m, rel=5e-3)
        assert f"a pixel is {scene.gsd_m:.3g} m and the model learned from 1 to 4 m" in " ".join(
            scene.notes(np.array([99]), 0)
        )
    with gdal_session(), open_scene(path, METRE, resample=5.0) as scene:
        assert scene.factor == pytest.approx(5.0 / ground_m, rel=5e-3)
        assert scene.transform.a == pytest.approx(150 / ground_m, rel=5e-3)
    with (
        gdal_session(),
        pytest.raises(SceneError, match=r"a pixel of .* is 11\.[23] m .*--any-gsd"),
        open_scene(path, InputContract(gsd_m=(0.5, 2.0))),
    ):
        pass


def test_what_can_not_be_resampled_is_refused_with_the_remedy(tmp_path: Path, scene_at: Callable[..., Any]) -> None:
    image = np.full((20, 20, 3), 9, np.uint8)
    path = scene_at(tmp_path / "s.tif", image).path
    placeless = scene_at(tmp_path / "p.tif", image, crs=None).path
    for scene_path, contract, resample, error, words in (
        (placeless, METRE, "trained", SceneError, "how many metres"),
        (path, InputContract(), "trained", UsageError, "--resample METRES"),
        (path, METRE, 0.0, UsageError, "above 0"),
        (path, METRE, math.nan, UsageError, "above 0"),
        (path, METRE, 100.0, SceneError, "--any-gsd"),
        (path, METRE, 1e-9, SceneError, "--any-gsd"),
    ):
        with pytest.raises(error, match=words), gdal_session():  # noqa: SIM117 -- the session is not what raises
            with open_scene(scene_path, contract, resample=resample):
                pass
    with pytest.raises(SceneError, match="choose more metres"), gdal_session():  # noqa: SIM117
        with open_scene(path, METRE, resample=1e-9, any_gsd=True):
            pass
