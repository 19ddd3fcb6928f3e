"""On a real GPU: engines of each precision against ONNX Runtime on the CPU; `make gpu-test` runs this.

Needs an NVIDIA driver, tensorrt and cuda-bindings. Models come from the environment, else the bundled one is used:
KDA_EDGE_GPU_MODELS is a folder of artifacts that `kda-export` wrote, of any precision.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from kda_edge.errors import DeviceError, MissingDependency
from kda_edge.runtime.engines.artifact import Artifact, read_artifact
from kda_edge.runtime.engines.in_turns import example_tiles
from kda_edge.runtime.engines.onnxruntime_engine import open_onnxruntime
from kda_edge.runtime.hardware.cuda import open_cuda
from kda_edge.runtime.hardware.gpu_probe import Device, probe
from kda_edge.runtime.tensorrt.build import BuildOptions
from kda_edge.runtime.tensorrt.library import open_library
from kda_edge.runtime.tensorrt.tensorrt_engine import open_tensorrt

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

MODELS = os.environ.get("KDA_EDGE_GPU_MODELS")
PATHS: list[Path | None] = [None, *(sorted(Path(MODELS).glob("*.onnx")) if MODELS else [])]
# Against the same graph in ONNX Runtime. How far TensorRT may lie from it was not measured: choices, to be replaced.
MAX_ABS = {"fp32": 1e-3, "fp16": 3e-2, "int8": 1e-1}
AGREEMENT = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.99}
BATCH = 4
ROUNDS = 50


@pytest.fixture(scope="module")
def device() -> Device:
    try:
        found = probe()
        open_library(found)
        open_cuda(found.index).close()
    except (DeviceError, MissingDependency) as error:
        pytest.skip(f"no GPU to test on: {error}")
    return found


@pytest.fixture(params=PATHS, ids=lambda path: "bundled" if path is None else path.stem)
def artifact(request: pytest.FixtureRequest) -> Artifact:
    return read_artifact(request.param)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def test_an_engine_answers_as_onnx_runtime_does_and_comes_from_the_cache_the_second_time(
    device: Device, artifact: Artifact, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = BuildOptions(opt_batch=BATCH, max_batch=BATCH)
    tiles = example_tiles(artifact.manifest, BATCH + 2)  # more than a batch: split, and the last one smaller
    tiles[1] = tiles[1].mean()
    with open_tensorrt(artifact.path, artifact.manifest, artifact.graph_sha256, options=options, root=root) as engine:
        answers = [engine(tiles) for _ in range(3)]  # by layers, captured, replayed
        mapped = np.concatenate(list(engine.map(tiles[i : i + 1] for i in range(len(tiles)))))
        build_s, ran, parity = engine.build_s, engine.manifest, engine.parity
    assert parity is not None
    assert parity.against_it == ""
    # Where INT8 gave way, the fallback is what ran.
    path = artifact.path if ran == artifact.manifest else artifact.path.parent / artifact.manifest.fallback
    expected = open_onnxruntime(path, ran)(tiles)
    for answer in (*answers, mapped):
        assert np.abs(answer - expected).max() <= MAX_ABS[ran.precision]
        agree = (answer >= ran.threshold) == (expected >= ran.threshold)
        assert agree.mean() >= AGREEMENT[ran.precision]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])

    start = time.perf_counter()
    with open_tensorrt(artifact.path, artifact.manifest, artifact.graph_sha256, options=options, root=root) as engine:
        opened_s = time.perf_counter() - start
        assert engine.from_cache
        one, times_ms = tiles[:1], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            engine(one)
            times_ms.append((time.perf_counter() - start) * 1000)
    with capsys.disabled():
        print(
            f"\n{device.name}, {ran.precision}, {ran.tile_px} px: built in {build_s:.1f} s, opened again in "
            f"{opened_s:.1f} s, one tile p50 {statistics.median(times_ms):.2f} ms, worst {max(times_ms):.2f} ms of "
            f"{ROUNDS}, largest difference {np.abs(answers[0] - expected).max():.2g}, on the tiles that decide "
            f"{max(tile.max_abs for tile in parity.tiles):.2g} of {parity.budget.max_abs:.2g} ({parity.sampling})"
        )


def test_the_phases_of_a_call_are_above_0_and_no_more_than_the_call(
    device: Device, artifact: Artifact, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tile = example_tiles(artifact.manifest, 1)
    with open_tensorrt(artifact.path, artifact.manifest, artifact.graph_sha256, root=root) as engine:
        expected = engine(tile)
        for _ in range(3):  # the first makes the events
            start = time.perf_counter()
            answer, phases_ms = engine.timed(tile)
            call_ms = (time.perf_counter() - start) * 1000
            np.testing.assert_array_equal(answer, expected)
            assert min(phases_ms.values()) > 0
            assert sum(phases_ms.values()) <= call_ms
    with capsys.disabled():
        told = ", ".join(f"{name} {taken_ms:.3f} ms" for name, taken_ms in phases_ms.items())
        print(f"\n{device.name}, {artifact.manifest.precision}: {told} of {call_ms:.3f} ms")


def test_two_engines_live_side_by_side_and_give_everything_back(device: Device, artifact: Artifact, root: Path) -> None:
    tile = example_tiles(artifact.manifest, 1)
    arguments = (artifact.path, artifact.manifest, artifact.graph_sha256)
    for _ in range(3):
        with open_tensorrt(*arguments, root=root) as first, open_tensorrt(*arguments, root=root) as second:
            np.testing.assert_array_equal(first(tile), second(tile))
