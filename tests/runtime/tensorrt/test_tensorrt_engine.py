from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_cuda import SimulatedGpu
from fake_cuda_libraries import FakeRuntime
from fake_tensorrt_run import FakeLogger, FakeTensorrt, expected, plan_of

from kda_edge.certificate import Calibration, Latency
from kda_edge.errors import BuildRefused, MissingDependency, NoDriver, PrecisionLost
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.hardware.cuda import Cuda
from kda_edge.runtime.hardware.cuda_bindings import CudaBindings
from kda_edge.runtime.hardware.gpu_probe import Device
from kda_edge.runtime.tensorrt.build import BuildOptions, Built
from kda_edge.runtime.tensorrt.device_engines import Surroundings
from kda_edge.runtime.tensorrt.library import Library
from kda_edge.runtime.tensorrt.precision_proof import LayerCounts
from kda_edge.runtime.tensorrt.tensorrt_engine import TensorRTEngine, open_tensorrt

DEVICE = Device(0, "Orin", (8, 7), "12.6", 8 << 30)
INT8: dict[str, Any] = {
    "precision": "int8",
    "target": "tensorrt",
    "calibration": Calibration("minmax", 0, {"dark": 1}, ("ab" * 32,)),
}
LAYERS = {
    "fp32": LayerCounts(float32=9),
    "fp16": LayerCounts(half=9),
    "int8": LayerCounts(int8=9, half=3, quantised=10),
}
SCALES = {"fp32": 1e-4, "fp16": 2e-4, "int8": 3e-4}  # so that an answer tells which engine gave it


class Cpu:
    """ONNX Runtime of such a machine: it answers as the engine of that precision."""

    max_batch = None

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.manifest = manifest

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        return expected(tiles, scale=SCALES[self.manifest.precision]).astype(np.float32)

    def close(self) -> None:
        pass


class Machine:
    """A device with TensorRT and a builder on it; `cost_ms` is what one call of an engine takes, by precision."""

    def __init__(self, version: str = "10.3.0", **cost_ms: float) -> None:
        self.gpu = SimulatedGpu()
        self.runtime = FakeRuntime(self.gpu)
        self.library = Library(FakeTensorrt(self.gpu, self.runtime, version), version, FakeLogger())
        self.cost_ms = cost_ms
        self.layers = dict(LAYERS)
        self.asked: list[str] = []
        self.options: BuildOptions | None = None

    def find_gpu(self) -> Device:
        self.asked.append("driver")
        return DEVICE

    def open_library(self, device: Device) -> Library:
        assert device is DEVICE
        self.asked.append("library")
        return self.library

    def open_cuda(self, index: int) -> Cuda:
        self.asked.append("cuda")
        return CudaBindings(self.runtime, index)

    def build(self, onnx: Path, *, device: Device, options: BuildOptions, library: Library) -> Built:
        assert device is DEVICE
        assert library is self.library
        precision = read_artifact(onnx, allow_unverified=True).manifest.precision
        self.asked.append(f"build {precision}")
        self.options = options
        batches = [1, options.opt_batch, options.max_batch]
        plan = plan_of(32, scale=SCALES[precision], batches=batches, cost_ms=self.cost_ms.get(precision, 1.0))
        return Built(plan, self.layers[precision], 61.0, library.version)

    def around(self) -> Surroundings:
        return Surroundings(
            self.find_gpu,
            self.open_library,
            self.open_cuda,
            self.build,
            lambda: self.gpu.busy_ms / 1000,
            open_cpu=Cpu,
            driver_release=lambda: "",
        )

    def open(self, model: Path, root: Path, **options: Any) -> TensorRTEngine:
        artifact = read_artifact(model, allow_unverified=True)
        return open_tensorrt(
            model,
            artifact.manifest,
            artifact.graph_sha256,
            options=BuildOptions(**options) if options else None,
            root=root,
            surroundings=self.around(),
        )


@pytest.fixture
def pair(make_model: Callable[..., Path]) -> tuple[Path, Path]:
    """An INT8 model and its FP16 fallback, of the same checkpoint."""
    half = make_model(0.1, precision="fp16", target="tensorrt")
    return make_model(0.2, **INT8, fallback=half.name), half


def answers_as(engine: TensorRTEngine) -> str:
    """Tell by its answer, and by nothing that it says, which precision's engine runs."""
    tiles = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)).astype(np.float32)
    answer = engine(tiles)
    (fits,) = (name for name, scale in SCALES.items() if np.allclose(answer, expected(tiles, scale=scale)))
    return fits


@pytest.mark.parametrize("version", ["10.3.0", "11.4.0"])
def test_a_model_is_built_once_and_comes_from_the_cache_the_next_time(
    version: str, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model, machine = make_model(), Machine(version)
    with machine.open(model, tmp_path, opt_batch=2, max_batch=4) as engine:
        assert answers_as(engine) == "fp32"
        assert (engine.max_batch, engine.from_cache, engine.build_s, engine.notes) == (4, False, 61.0, ())
        assert engine.manifest == read_artifact(model).manifest
    assert machine.asked == ["driver", "library", "cuda", "build fp32", "cuda", "cuda"]  # to compare it, and to run it
    again = Machine(version)
    with again.open(model, tmp_path, opt_batch=2, max_batch=4) as engine:
        assert answers_as(engine) == "fp32"
        assert engine.from_cache
    assert again.asked == ["driver", "library", "cuda", "cuda"]
    for each in (machine, again):
        each.gpu.require_clean()


def test_another_tensorrt_or_another_batch_is_another_engine(make_model: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model()
    Machine("10.3.0").open(model, tmp_path).close()
    for machine, options in ((Machine("11.4.0"), {}), (Machine("11.4.0"), {"opt_batch": 2, "max_batch": 2})):
        machine.open(model, tmp_path, **options).close()
        assert "build fp32" in machine.asked


def test_timings_of_builds_are_kept_in_the_cache(make_model: Callable[..., Path], tmp_path: Path) -> None:
    machine = Machine()
    machine.open(make_model(), tmp_path).close()
    assert machine.options is not None
    assert machine.options.timing_cache == tmp_path / "timings"


def test_a_sequence_of_batches_goes_through_the_runner(make_model: Callable[..., Path], tmp_path: Path) -> None:
    batches = [np.full((n, 3, 32, 32), n, np.float32) for n in (1, 2, 2)]
    with Machine().open(make_model(), tmp_path, max_batch=2) as engine:
        for answer, tiles in zip(engine.map(batches), batches, strict=True):
            np.testing.assert_allclose(answer, expected(tiles, scale=SCALES["fp32"]), rtol=1e-6)


def test_without_a_driver_or_cuda_nothing_is_built(make_model: Callable[..., Path], tmp_path: Path) -> None:
    for missing, error in (("find_gpu", NoDriver("no driver")), ("open_cuda", MissingDependency("c", extra="t"))):
        machine = Machine()

        def refuse(*_: Any, error: Exception = error) -> Any:
            raise error

        setattr(machine, missing, refuse)
        with pytest.raises(type(error)):
            machine.open(make_model(), tmp_path)
        assert not any("build" in asked for asked in machine.asked)
        assert list(tmp_path.iterdir()) == []


def test_an_engine_in_another_precision_is_refused_before_it_is_loaded(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model(precision="fp16")
    for _ in range(2):  # the second time from the cache
        machine = Machine()
        machine.layers["fp16"] = LayerCounts(float32=9)
        with pytest.raises(PrecisionLost):
            machine.open(model, tmp_path)
        machine.gpu.require_clean()


def test_a_builder_that_refuses_leaves_nothing(make_model: Callable[..., Path], tmp_path: Path) -> None:
    machine = Machine()

    def refuse(*_: Any, **__: Any) -> Any:
        raise BuildRefused("no")

    machine.build = refuse  # type: ignore[method-assign]
    with pytest.raises(BuildRefused):
        machine.open(make_model(), tmp_path)
    machine.gpu.require_clean()


@pytest.mark.parametrize(("int8_ms", "chosen"), [(1.0, "int8"), (1.69, "int8"), (1.71, "fp16"), (3.0, "fp16")])
def test_int8_is_used_where_it_is_clearly_faster_and_its_fallback_elsewhere(
    pair: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, int8_ms: float, chosen: str
) -> None:
    machine = Machine(int8=int8_ms, fp16=2.0)
    with caplog.at_level(logging.WARNING, "kda_edge"), machine.open(pair[0], tmp_path) as engine:
        assert answers_as(engine) == chosen
        assert engine.manifest.precision == chosen
        (note,) = engine.notes
    assert f"{int8_ms:.2f} ms against 2.00 ms of FP16" in note
    assert [record.message for record in caplog.records].count(f"{pair[0]}: {note}") == 1
    machine.gpu.require_clean()

    again = Machine(int8=99.0, fp16=99.0)
    with again.open(pair[0], tmp_path) as engine:
        assert answers_as(engine) == chosen
        assert engine.notes == (note,)  # what was measured the first time
    assert again.asked == ["driver", "library", "cuda", "cuda"]
    again.gpu.require_clean()


def test_an_int8_model_alone_goes_on_with_a_note(
    pair: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair[1].unlink()
    with caplog.at_level(logging.WARNING, "kda_edge"), Machine().open(pair[0], tmp_path) as engine:
        assert answers_as(engine) == "int8"
        (note,) = engine.notes
    assert f"put {pair[1].name} of the same export beside {pair[0].name}" in note
    assert sum(note in record.message for record in caplog.records) == 1


def test_a_failure_while_timing_leaves_nothing_on_the_device_and_no_figure(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    machine = Machine(int8=1.0, fp16=2.0)
    machine.layers["fp16"] = LayerCounts(float32=9)
    with pytest.raises(PrecisionLost):
        machine.open(pair[0], tmp_path)
    machine.gpu.require_clean()
    assert not any("int8" in json.loads(path.read_text())["latency_ms"] for path in tmp_path.rglob("engine.json"))


def test_a_measured_model_is_not_measured_again(make_model: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model(0.2, **INT8, fallback="anything.onnx")
    artifact = read_artifact(model)
    assert artifact.manifest.certificate is not None
    timed = dataclasses.replace(
        artifact.manifest,
        certificate=dataclasses.replace(
            artifact.manifest.certificate, latency=Latency("TensorRT", "a GPU", 30, 1.0, "fp16", 2.0)
        ),
    )
    machine = Machine()
    with open_tensorrt(model, timed, artifact.graph_sha256, root=tmp_path, surroundings=machine.around()) as engine:
        assert answers_as(engine) == "int8"
        assert engine.notes == ()
