"""The bundled student gives a tile the same bytes in any batch and on any number of threads, on each CPU engine.

Measured, not assumed: what holds here is what `OpenedEngine.facts` says of this machine.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.errors import DeviceError, MissingDependency
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.cpu_choice import BFLOAT16
from kda_edge.runtime.engines.tile_comparison import trial_tiles
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine
from kda_edge.runtime.parity.example_scene import example_scene_tiles
from kda_edge.tiling.predict import predict_array

ENGINES = ("cpu", "openvino", "openvino-bf16")
STEP = 1 / 254
ON_X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="not measured on this kind of processor")
TILES, WAVES = 8, 3


@cache
def opened(name: str, threads: int = 1) -> OpenedEngine:
    try:
        return open_engine(engine=name, threads=threads)
    except (MissingDependency, DeviceError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tiles() -> NDArray[np.float32]:
    """The first tiles of the example scene, where any student's probabilities spread, and then noise over waves."""
    manifest = read_artifact().manifest
    side_px = manifest.tile_px
    rng = np.random.default_rng(0)
    row, col = np.mgrid[:side_px, :side_px] / side_px
    waves = np.stack([np.sin(8 * row * k + 5 * col + k) for k in range(3 * WAVES)]).reshape(WAVES, 3, side_px, side_px)
    noise = (127 + 80 * waves + rng.normal(0, 20, waves.shape)).clip(0, 255).round().astype(np.float32)
    scene = np.stack([tile.pixels for tile in example_scene_tiles(manifest)[: TILES - WAVES]])
    return np.concatenate([scene, noise])


@pytest.fixture(scope="module")
def alone(tiles: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """By engine: each tile in a call of its own, one thread."""
    found = {}
    for name in ENGINES:
        try:
            engine = open_engine(engine=name, threads=1)
        except (MissingDependency, DeviceError):
            continue
        with engine:
            found[name] = np.concatenate([engine(tiles[i : i + 1]) for i in range(len(tiles))])
    return found


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("name", ENGINES)
def test_a_tile_has_the_same_bytes_in_any_batch_and_on_any_number_of_threads(
    name: str, threads: int, tiles: NDArray[np.float32], alone: dict[str, NDArray[np.float32]]
) -> None:
    engine = opened(name, threads)
    assert alone[name].std() > 0.01  # else any engine would pass
    for batch in (8, 3):
        answers = np.concatenate([engine(tiles[i : i + batch]) for i in range(0, len(tiles), batch)])
        if engine.facts.batch_invariant and (engine.facts.threads is None or threads == 1):
            assert answers.tobytes() == alone[name].tobytes(), f"batches of {batch}"
        assert np.abs(answers - alone[name]).max() <= (STEP if engine.facts.threads is None else BFLOAT16.max_abs)


@ON_X86
def test_the_engines_in_float32_claim_that_neither_batch_nor_threads_matter() -> None:
    for name in ("cpu", "openvino"):
        assert opened(name).facts.batch_invariant
        assert opened(name).facts.threads is None


def test_engines_agree_within_the_certificate(alone: dict[str, NDArray[np.float32]]) -> None:
    certificate = read_artifact().manifest.certificate
    assert certificate is not None
    assert certificate.budget.max_abs is not None
    if "openvino" not in alone:
        pytest.skip("OpenVINO is not installed")
    distance = np.abs(alone["openvino"] - alone["cpu"]).max()
    assert 0 < distance <= certificate.budget.max_abs
    if "openvino-bf16" in alone:
        assert distance < np.abs(alone["openvino-bf16"] - alone["cpu"]).max()
        tried = np.stack([tile.pixels for tile in trial_tiles(read_artifact().manifest)])  # it is held to these alone
        assert np.abs(opened("openvino-bf16")(tried) - opened("cpu")(tried)).max() <= BFLOAT16.max_abs


def images() -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    yield rng.integers(0, 256, (300, 420, 3), np.uint8)
    yield np.kron(rng.integers(0, 256, (10, 9, 3)), np.ones((40, 40, 1))).astype(np.uint8)


@pytest.mark.parametrize("image", list(images()), ids=["noise", "fields"])
def test_maps_of_two_engines_differ_by_one_step_at_most(image: NDArray[np.uint8]) -> None:
    steps = []
    for name in ("cpu", "openvino"):
        probability, failed = predict_array(image, None, opened(name), opened(name).manifest.tile_px, 32)
        assert not failed.any()
        steps.append(np.rint(probability * 254))
    assert np.abs(steps[0] - steps[1]).max() <= 1
