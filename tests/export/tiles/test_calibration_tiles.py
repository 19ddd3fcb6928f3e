"""Tiles come from every kind of ground in equal shares, and ranges hold what each method promises to hold."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import HistogramCollector
from rasterio.errors import NotGeoreferencedWarning

from kda_edge.certificate import Calibration
from kda_edge.errors import ExportError, SceneError, UsageError
from kda_edge.export.precision.ranges import (
    BINS,
    ENTROPY_STEP_BINS,
    ENTROPY_VALUES_MIN,
    PERCENTILE,
    entropy,
    measured_ranges,
)
from kda_edge.export.tiles.calibration_tiles import CANDIDATES_PER_TILE, Drawn, calibration_tiles
from kda_edge.manifest import InputContract
from kda_edge.tiling.certificate_tiles import Tile

TILE_PX = 32
EIGHT_BIT = InputContract()
Array = NDArray[Any]


def write(path: Path, pixels: Array, nodata: int | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    _, height, width = pixels.shape
    size = {"height": height, "width": width, "count": 3, "dtype": "uint8", "nodata": nodata}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **size) as file:
            file.write(pixels.astype(np.uint8))


def red_is_landslide(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """A student that takes pixels whose red is 200 for landslide."""
    return (tiles[:, :1] == 200).astype(np.float32) * np.float32(0.6)


def draw(path: Path, count: int = 16, seed: int = 0, engine: Callable[[Array], Array] = red_is_landslide) -> Drawn:
    return calibration_tiles(path, EIGHT_BIT, TILE_PX, count=count, seed=seed, probability=engine, threshold=0.5)


def ground(seed: int, mean: int, landslide: bool) -> Array:
    pixels = np.random.default_rng(seed).integers(mean - 9, mean + 10, (3, TILE_PX, TILE_PX))
    pixels[0, : 8 * landslide, :8] = 200
    return pixels


def folder_of(path: Path, kinds: Sequence[tuple[int, bool]], *, backwards: bool = False) -> Path:
    """A folder of one-tile rasters, each of a mean and with a landslide or not."""
    named = list(enumerate(kinds))
    for index, (mean, landslide) in reversed(named) if backwards else named:
        write(path / f"{index:02}.tif", ground(index, mean, landslide))
    return path


# Means rise from file to file, so that the ten darkest are 0..9 and the ten brightest 30..39.
SLIDES = (2, 8, 12, 15, 18, 21, 24, 27, 33, 38)
MIXED = [(20 + 4 * index, index in SLIDES) for index in range(40)]


def indices(drawn: Drawn) -> list[int]:
    return [int(tile.name[:2]) for tile in drawn.tiles]


def test_every_stratum_gives_its_share(tmp_path: Path) -> None:
    drawn = draw(folder_of(tmp_path / "mixed", MIXED))
    assert drawn.counts == {"landslide": 4, "background": 4, "dark": 4, "bright": 4}
    turns = [indices(drawn)[start::4] for start in range(4)]  # in turns, in this order
    landslide, background, dark, bright = turns
    assert set(landslide) <= set(SLIDES)
    assert not set(background) & set(SLIDES)
    assert set(dark) <= set(range(10)) - set(SLIDES)  # of the commoner class as long as it lasts
    assert set(bright) <= set(range(30, 40)) - set(SLIDES)
    assert len({tile.sha256 for tile in drawn.tiles}) == 16
    Calibration("minmax", 0, drawn.counts, tuple(tile.sha256 for tile in drawn.tiles))  # fits the manifest


def test_what_one_stratum_lacks_the_others_give(tmp_path: Path) -> None:
    few = [(mean, index in (12, 20)) for index, (mean, _) in enumerate(MIXED)]
    drawn = draw(folder_of(tmp_path / "few", few), count=20)
    assert drawn.counts == {"landslide": 2, "background": 6, "dark": 6, "bright": 6}
    assert {12, 20} <= set(indices(drawn))


def test_fewer_tiles_than_asked_are_all_drawn_once(tmp_path: Path) -> None:
    drawn = draw(folder_of(tmp_path / "all", MIXED), count=64)
    assert sorted(indices(drawn)) == list(range(40))
    assert sum(drawn.counts.values()) == 40


def test_the_seed_decides_and_the_order_of_the_directory_does_not(tmp_path: Path) -> None:
    there, other = folder_of(tmp_path / "a", MIXED), folder_of(tmp_path / "b", MIXED, backwards=True)
    digests = [[tile.sha256 for tile in draw(path).tiles] for path in (there, there, other)]
    assert digests[0] == digests[1] == digests[2]
    assert set(digests[0]) != {tile.sha256 for tile in draw(there, seed=1).tiles}


def test_a_large_scene_is_asked_about_at_few_places_and_never_where_it_has_no_data(tmp_path: Path) -> None:
    side_px = TILE_PX * 20
    pixels = np.random.default_rng(0).integers(1, 200, (3, side_px, side_px))
    pixels[:, :, : side_px // 2] = 0
    write(tmp_path / "scene.tif", pixels, nodata=0)
    asked: list[Array] = []

    def engine(tiles: Array) -> Array:
        asked.append(tiles)
        return red_is_landslide(tiles)

    drawn = draw(tmp_path / "scene.tif", engine=engine)
    assert len(asked) == 16 * CANDIDATES_PER_TILE
    assert len({tile.name for tile in drawn.tiles}) == 16
    for tile in drawn.tiles:
        _, row, col = tile.name.split(", ")
        top, left = int(row.removeprefix("row ")), int(col.removeprefix("column "))
        assert left >= side_px // 2
        np.testing.assert_array_equal(tile.pixels, pixels[:, top : top + TILE_PX, left : left + TILE_PX])


def test_a_folder_of_scenes_gives_tiles_of_each(tmp_path: Path) -> None:
    for index in range(3):
        pixels = np.random.default_rng(index).integers(1, 200, (3, TILE_PX * (2 + 4 * index), TILE_PX * 4))
        write(tmp_path / "scenes" / f"{index}.tif", pixels)
    found = Counter(tile.name[0] for tile in draw(tmp_path / "scenes", count=64).tiles)
    assert found == {"0": 8, "1": 24, "2": 32}  # all of the small ones; the large one fills up


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere.tif", r"nowhere\.tif does not exist"),
        (lambda path: path, "no imagery"),
        (lambda path: folder_of(path / "few", MIXED[:15]), "15 tiles of 32 px .* at least 16 tiles .* 64 or more"),
    ],
    ids=["missing", "empty", "too few"],
)
def test_imagery_that_does_not_suffice_is_refused_in_one_line(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SceneError, match=message) as caught:
        draw(make(tmp_path))
    assert "\n" not in str(caught.value)


def doubling(side_px: int = 64) -> onnx.ModelProto:
    """A graph whose only layer to quantise takes the pixels times two."""
    weights = {"two": 2 * np.eye(3), "mid": np.ones((3, 3)), "last": np.ones((1, 3))}
    tensors = [numpy_helper.from_array(v.astype(np.float32)[:, :, None, None], name) for name, v in weights.items()]
    names = ["image", "doubled", "mixed", "probability"]
    nodes = [
        helper.make_node("Conv", [a, w], [b], f"{w}/Conv") for a, w, b in zip(names, weights, names[1:], strict=False)
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side_px, side_px])
    answer = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 1, side_px, side_px])
    graph = helper.make_graph(nodes, "doubling", [image], [answer], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def tiles_of(values: Array) -> list[Tile]:
    parts = values.astype(np.float32).reshape(-1, 3, 64, 64)
    return [Tile(str(index), pixels) for index, pixels in enumerate(parts)]


def magnitude(values: Array, method: str) -> float:
    ranges = measured_ranges(doubling(), tiles_of(values), method)
    assert ranges.method == method
    assert list(ranges.magnitudes) == ["doubled"]
    return ranges.magnitudes["doubled"] / 2


@pytest.fixture(scope="module")
def bell() -> Array:
    """245 760 values of a normal distribution, and ten that lie far off."""
    values = np.random.default_rng(5).normal(size=20 * 3 * 64 * 64).astype(np.float32)
    values[::24576] = np.linspace(-20, 19, 10)
    return values


def test_minmax_reaches_to_the_largest_magnitude(bell: Array) -> None:
    assert magnitude(bell, "minmax") == np.abs(bell).max() == 20
    assert magnitude(bell[:24576] + 30, "minmax") == (bell[:24576] + 30).max()


def test_percentile_holds_that_share_of_the_magnitudes_to_the_bin(bell: Array) -> None:
    bin_width = 20 / BINS
    values = np.abs(bell)
    exact = float(np.percentile(values, PERCENTILE, method="inverted_cdf"))
    found = magnitude(bell, "percentile")
    assert exact <= found <= exact + bin_width
    assert found < 20
    theirs = HistogramCollector("percentile", True, BINS, 0, PERCENTILE, "same")
    theirs.collect_absolute_value({"x": bell})  # ONNX Runtime's, whose answer is the lower edge of that bin
    assert found == pytest.approx(float(theirs.compute_percentile()["x"][1]) + bin_width, abs=1e-4)


def test_entropy_gives_up_what_lies_far_off_and_keeps_the_rest(bell: Array) -> None:
    assert 3.0 < magnitude(bell, "entropy") < 12.0
    even = np.random.default_rng(6).uniform(-7, 7, bell.size)
    assert magnitude(even, "entropy") > 0.99 * 7


def test_entropy_is_the_least_divergence_of_a_plain_loop() -> None:
    counts = np.histogram(np.random.default_rng(7).exponential(size=40000), 256)[0].astype(np.int64)
    scores = {}
    for end in range(128, 257, ENTROPY_STEP_BINS):
        wanted = [float(count) for count in counts[:end]]
        wanted[-1] += sum(counts[end:])
        found = [0.0] * end
        edges = [level * end // 128 for level in range(129)]
        for first, last in itertools.pairwise(edges):
            members = [bin_ for bin_ in range(first, last) if counts[bin_]]
            for bin_ in members:
                found[bin_] = float(sum(counts[first:last])) / len(members)
        pairs = [(w, max(f, 1e-4)) for w, f in zip(wanted, found, strict=True) if w]
        sums = [sum(side) for side in zip(*pairs, strict=True)]
        scores[end] = sum(w / sums[0] * math.log((w / sums[0]) / (f / sums[1])) for w, f in pairs)
    best = min(scores, key=lambda end: scores[end])
    assert 128 < best < 256
    assert entropy(counts) == best / 256


def test_entropy_holds_all_of_what_is_too_little_to_judge() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[:: BINS // 64] = 1
    counts[0] = ENTROPY_VALUES_MIN - 100
    assert entropy(counts) == 1.0


@pytest.mark.parametrize("method", ["minmax", "entropy", "percentile"])
def test_ranges_do_not_hang_on_the_order_of_the_tiles(bell: Array, method: str) -> None:
    tiles = tiles_of(bell * np.repeat(np.arange(20), 12288))  # the first is black
    one, other = (measured_ranges(doubling(), order, method) for order in (tiles, tiles[::-1]))
    assert one == other
    assert measured_ranges(doubling(), tiles[:1], method).magnitudes == {"doubled": 0.0}


@pytest.mark.parametrize(
    ("error", "tiles", "method", "message"),
    [
        (UsageError, [np.zeros((3, 64, 64))], "best", "no calibration method 'best'; give one of minmax, entropy"),
        (ExportError, [], "minmax", "no tile to calibrate on"),
        (ExportError, [np.ones((3, 64, 64)), np.full((3, 64, 64), np.nan)], "minmax", "doubled reaches nan"),
        (ExportError, [np.full((3, 64, 64), 3e38), np.ones((3, 64, 64))], "percentile", "doubled reaches inf"),
    ],
    ids=["no method", "no tiles", "no number", "overflow"],
)
def test_ranges_that_can_not_be_measured_are_refused(
    error: type[Exception], tiles: list[Array], method: str, message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        measured_ranges(doubling(), [Tile(str(i), np.float32(p)) for i, p in enumerate(tiles)], method)
    assert "\n" not in str(caught.value)
