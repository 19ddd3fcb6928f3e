"""A segmenter inside somebody else's program: threads, masks, closing, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rasterio.env import get_gdal_config

from kda_edge.errors import EngineError, UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime import Segmenter
from kda_edge.runtime.geo.gdal import CACHE_BYTES, gdal_session, open_raster
from kda_edge.tiling.tile_answers import EngineFacts

SOON_S = 20.0  # far more than anything here takes: a test that would hang fails instead


def identity(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, :1] / np.float32(255)


class WatchedEngine:
    """The identity, which knows how many were inside at once, and can be held inside until it is let go."""

    def __init__(self) -> None:
        self.inside, self.most_inside, self.closed = 0, 0, 0
        self.entered, self.let_go = threading.Event(), threading.Event()
        self.let_go.set()

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        assert self.let_go.wait(SOON_S)
        time.sleep(0)  # an invitation to the other threads
        self.inside -= 1
        assert not self.closed
        return identity(tiles)

    def close(self) -> None:
        assert not self.inside
        self.closed += 1


@pytest.fixture
def manifest(make_manifest: Callable[..., Manifest]) -> Manifest:
    return make_manifest()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_threads_get_their_own_answers_and_the_engine_one_call_at_a_time(
    manifest: Manifest, rng: np.random.Generator, tmp_path: Path, scene: Any
) -> None:
    engine = WatchedEngine()
    images = [rng.integers(0, 256, (70, 40 + n, 3), np.uint8) for n in range(12)]
    with Segmenter(engine, manifest, close=engine.close) as segmenter, ThreadPoolExecutor(6) as pool:
        maps = [pool.submit(segmenter.predict_scene, scene.path, tmp_path / f"maps{n}") for n in range(2)]
        predictions = list(pool.map(segmenter.predict, images))
        first, second = (done.result(SOON_S).map_path.read_bytes() for done in maps)
    for image, prediction in zip(images, predictions, strict=True):
        np.testing.assert_allclose(prediction.probability, image[..., 0] / 255, atol=1e-6)
    assert first == second
    assert engine.most_inside == 1


def refuses(segmenter: Segmenter) -> bool:
    try:
        with segmenter._engine.used():
            return False
    except UsageError:
        return True


def test_closing_waits_for_the_call_that_runs_and_refuses_the_next(manifest: Manifest) -> None:
    engine = WatchedEngine()
    engine.let_go.clear()
    segmenter = Segmenter(engine, manifest, close=engine.close)
    image = np.full((32, 32, 3), 51, np.uint8)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(segmenter.predict, image)
        assert engine.entered.wait(SOON_S)
        closing = pool.submit(segmenter.close)
        until_s = time.monotonic() + SOON_S
        while not refuses(segmenter) and time.monotonic() < until_s:
            time.sleep(0.001)
        with pytest.raises(UsageError, match="closed"):
            segmenter.predict(image)
        assert not closing.done()
        assert not engine.closed
        engine.let_go.set()
        closing.result(SOON_S)
        assert running.result(SOON_S).probability[0, 0] == pytest.approx(0.2)
    segmenter.close()
    assert engine.closed == 1


def test_closing_from_inside_a_call_is_refused_and_not_waited_for(manifest: Manifest, scene: Any) -> None:
    segmenter = Segmenter(identity, manifest)
    with pytest.raises(UsageError, match="inside its own call"):
        segmenter.predict_scene(scene.path, progress=lambda done, total: segmenter.close())
    assert not list(scene.path.parent.glob("*_landslide*"))
    segmenter.predict(np.zeros((4, 4, 3), np.uint8))  # as open as before


def test_pixels_without_data_are_nan_and_255_as_in_the_map_of_the_same_pixels(manifest: Manifest, scene: Any) -> None:
    with Segmenter(identity, manifest) as segmenter:
        prediction = segmenter.predict(scene.image, valid=scene.valid)
        result = segmenter.predict_scene(scene.path)
    with open_raster(result.map_path) as landslides:
        np.testing.assert_array_equal(prediction.mask, landslides.read(1))
    np.testing.assert_array_equal(np.isnan(prediction.probability), ~scene.valid)
    assert set(np.unique(prediction.mask)) == {0, 1, 255}


def test_an_image_wholly_without_data_has_no_answer_and_costs_no_engine(manifest: Manifest) -> None:
    def never(tiles: np.ndarray) -> np.ndarray:
        raise AssertionError("asked about nothing")

    prediction = Segmenter(never, manifest).predict(np.zeros((40, 40, 3), np.uint8), valid=np.zeros((40, 40), bool))
    assert (prediction.mask == 255).all()
    assert prediction.engine_seconds == 0


@pytest.mark.parametrize(
    ("valid", "words"),
    [
        (np.ones((4, 5), bool), "bool of 4 x 5"),
        (np.ones((4, 4), np.uint8), "uint8 of 4 x 4"),
        (np.ones((4, 4, 1), bool), "bool of 4 x 4 x 1"),
        (True, "bool of no size"),
    ],
    ids=["shape", "type", "axes", "scalar"],
)
def test_a_mask_that_does_not_fit_the_image_is_refused(manifest: Manifest, valid: Any, words: str) -> None:
    with pytest.raises(UsageError, match=f"bool array of 4 x 4 .* not {words}"):
        Segmenter(identity, manifest).predict(np.zeros((4, 4, 3), np.uint8), valid=valid)


def test_nan_is_taken_where_there_is_no_data_and_refused_where_there_should_be(
    make_manifest: Callable[..., Manifest],
) -> None:
    segmenter = Segmenter(lambda tiles: tiles[:, :1], make_manifest(pixel_type="float32", value_range=(0, 1)))
    image, valid = np.full((40, 50, 3), 0.25, np.float32), np.ones((40, 50), bool)
    image[3, 4], valid[3, 4] = np.nan, False
    prediction = segmenter.predict(image, valid=valid)
    np.testing.assert_allclose(prediction.probability[valid], 0.25)
    assert np.isnan(prediction.probability[3, 4])
    valid[3, 4] = True
    with pytest.raises(UsageError, match="NaN"):
        segmenter.predict(image, valid=valid)


def test_the_overlap_asked_for_is_the_one_used(manifest: Manifest) -> None:
    segmenter, image = Segmenter(identity, manifest), np.zeros((64, 64, 3), np.uint8)
    assert [segmenter.predict(image, overlap_px=px).tiles for px in (0, 8, 16, 31)] == [4, 9, 9, 33 * 33]
    assert segmenter.predict(image).tiles == 9
    with pytest.raises(UsageError, match="overlap by 32 px"):
        segmenter.predict(image, overlap_px=32)


def test_an_engine_gets_as_many_tiles_a_call_as_it_likes_best(manifest: Manifest, rng: np.random.Generator) -> None:
    class Wide(WatchedEngine):
        sizes: ClassVar[list[int]] = []

        def __call__(self, tiles: np.ndarray) -> np.ndarray:
            self.sizes.append(len(tiles))
            return super().__call__(tiles)

    image = rng.integers(0, 256, (32, 32 + 4 * 24, 3), np.uint8)
    segmenter = Segmenter(Wide(), manifest, EngineFacts(name="wide", max_batch=4))
    np.testing.assert_allclose(segmenter.predict(image).probability, image[..., 0] / 255, atol=1e-6)
    assert [len(result.prediction.mask) for result in segmenter.stream([image])] == [32]
    assert Wide.sizes == [4, 1, 4, 1]
    assert segmenter.engine_name == "wide"


def test_an_engine_that_says_nothing_is_custom_gets_a_tile_a_call_and_is_not_closed(manifest: Manifest) -> None:
    """What it happens to have is not looked at: a name of its own, or a `close`, may mean anything."""

    class Talkative(WatchedEngine):
        name, max_batch, sizes = "cpu", 4, list[int]()

        def __call__(self, tiles: np.ndarray) -> np.ndarray:
            self.sizes.append(len(tiles))
            return super().__call__(tiles)

    engine = Talkative()
    with Segmenter(engine, manifest) as segmenter:
        segmenter.predict(np.zeros((32, 56, 3), np.uint8))
        assert segmenter.engine_name == "custom"
    assert engine.sizes == [1, 1]
    assert engine.closed == 0


def test_notes_in_the_place_of_facts_are_refused_where_the_segmenter_is_made(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match=r"facts must be EngineFacts, not tuple; give notes as notes="):
        Segmenter(identity, manifest, ("a note",))


def test_warming_up_runs_one_tile_within_the_models_range(make_manifest: Callable[..., Manifest]) -> None:
    seen: list[np.ndarray] = []

    def engine(tiles: np.ndarray) -> np.ndarray:
        seen.append(tiles.copy())
        return np.zeros_like(tiles[:, :1])

    for fields in ({}, {"pixel_type": "uint16", "value_range": (100, 4000)}):
        assert Segmenter(engine, make_manifest(**fields)).warm_up() > 0
    assert [tiles.shape for tiles in seen] == [(1, 3, 32, 32)] * 2
    assert [int(tiles.max()) for tiles in seen] == [127, 2050]


def test_warming_up_finds_an_engine_that_does_not_work(manifest: Manifest) -> None:
    def engine(tiles: np.ndarray) -> np.ndarray:
        raise RuntimeError("no such kernel")

    with pytest.raises(EngineError, match="no such kernel"):
        Segmenter(engine, manifest).warm_up()


def test_the_seconds_of_the_engine_are_part_of_those_of_the_call(manifest: Manifest) -> None:
    def engine(tiles: np.ndarray) -> np.ndarray:
        time.sleep(0.005)
        return identity(tiles)

    prediction = Segmenter(engine, manifest).predict(np.zeros((64, 64, 3), np.uint8))
    assert 9 * 0.005 <= prediction.engine_seconds <= prediction.seconds


def test_gdals_cache_is_as_before_when_the_last_of_several_threads_is_done() -> None:
    """A thread that left first, or saved the bound of another, must not decide for all."""
    before = get_gdal_config("GDAL_CACHEMAX")
    both_inside, first_left = threading.Barrier(2, timeout=SOON_S), threading.Event()

    def first() -> None:
        with gdal_session():
            both_inside.wait()
        first_left.set()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(first)
        with gdal_session():
            both_inside.wait()
            assert first_left.wait(SOON_S)
            assert get_gdal_config("GDAL_CACHEMAX") == CACHE_BYTES
        done.result(SOON_S)
    assert get_gdal_config("GDAL_CACHEMAX") == before
