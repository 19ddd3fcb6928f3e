from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kda_edge.certificate import Calibration
from kda_edge.errors import ArtifactError, DeviceError, EngineError, NoDriver, ProviderFellBack, UsageError
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.onnxruntime_engine import OnnxRuntimeEngine, open_onnxruntime, session_options
from kda_edge.runtime.hardware.gpu_probe import Device

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


class FakeOptions(SimpleNamespace):
    """Session options that remember every entry."""

    def add_session_config_entry(self, key: str, value: str) -> None:
        setattr(self, key, value)


class FakeOrt:
    """onnxruntime with providers that are listed, and those that it can load; the others it leaves out in silence."""

    __version__ = "1.99"
    SessionOptions = FakeOptions

    def __init__(self, listed: tuple[str, ...], loads: tuple[str, ...], *, tile_px: int = 32) -> None:
        self.sessions: list[Any] = []
        fake = self

        class InferenceSession:
            def __init__(self, path: str, options: Any, *, providers: list[Any], enable_fallback: int) -> None:
                self.path, self.options, self.asked = path, options, providers
                assert not enable_fallback
                self.falls_back = True  # that argument is not documented; what it promises is asked for once more
                fake.sessions.append(self)

            def disable_fallback(self) -> None:
                self.falls_back = False

            def get_providers(self) -> list[str]:
                return [name for name, _ in self.asked if name in loads]

            def get_inputs(self) -> list[Any]:
                return [SimpleNamespace(name="image", type="tensor(float)", shape=["N", 3, tile_px, tile_px])]

            def get_outputs(self) -> list[Any]:
                return [SimpleNamespace(name="probability", type="tensor(float)", shape=["N", 1, tile_px, tile_px])]

            def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
                return [feeds["image"][:, :1] / 255]

        self.InferenceSession = InferenceSession
        self.get_available_providers = lambda: list(listed)


def a_gpu() -> Device:
    return Device(0, "NVIDIA GeForce RTX 3090", (8, 6), "12.8", 24 << 30)


def opened(
    manifest: Manifest, provider: str, ort: FakeOrt, find_gpu: Callable[[], Device] = a_gpu
) -> OnnxRuntimeEngine:
    return open_onnxruntime(Path("student.onnx"), manifest, provider=provider, ort=ort, find_gpu=find_gpu)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDA_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("provider", "first"), [("cpu", CPU), ("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_the_provider_that_was_asked_for_runs_the_model(
    make_manifest: Callable[..., Manifest], provider: str, first: str
) -> None:
    ort = FakeOrt((TENSORRT, CUDA, CPU), (TENSORRT, CUDA, CPU))
    engine = opened(make_manifest(), provider, ort)
    (session,) = ort.sessions
    assert session.asked[0][0] == first
    assert session.asked[-1][0] == CPU  # for operators that nobody else takes
    assert not session.falls_back
    assert engine.provider == provider
    tiles = np.full((1, 3, 32, 32), 51, np.float32)
    np.testing.assert_allclose(engine(tiles), tiles[:, :1] / 255)


@pytest.mark.parametrize(("provider", "is_loaded"), [("cpu", False), ("cuda", True), ("tensorrt", True)])
def test_cuda_of_python_packages_is_loaded_first_and_stdout_stays_for_results(
    make_manifest: Callable[..., Manifest], provider: str, is_loaded: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    ort, sessions_by_then = FakeOrt((TENSORRT, CUDA, CPU), (TENSORRT, CUDA, CPU)), list[int]()

    def preload_dlls() -> None:
        print("Failed to load libcufft.so.12")
        sessions_by_then.append(len(ort.sessions))

    ort.preload_dlls = preload_dlls
    opened(make_manifest(), provider, ort)
    assert sessions_by_then == [0] * is_loaded
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_the_package_for_the_cpu_is_refused_with_the_package_to_install(
    make_manifest: Callable[..., Manifest], provider: str
) -> None:
    ort = FakeOrt((CPU,), (CPU,))
    with pytest.raises(ProviderFellBack, match="pip install onnxruntime-gpu") as caught:
        opened(make_manifest(), provider, ort)
    assert "\n" not in str(caught.value)
    assert ort.sessions == []


@pytest.mark.parametrize(
    ("provider", "loads", "libraries"),
    [
        ("cuda", (CPU,), "CUDA and cuDNN"),
        ("tensorrt", (CUDA, CPU), "TensorRT, CUDA and cuDNN"),
        ("tensorrt", (CPU,), ""),
    ],
)
def test_a_provider_that_is_listed_and_does_not_load_is_refused_with_the_libraries_to_install(
    make_manifest: Callable[..., Manifest], provider: str, loads: tuple[str, ...], libraries: str
) -> None:
    with pytest.raises(ProviderFellBack, match=f"install {libraries}") as caught:
        opened(make_manifest(), provider, FakeOrt((TENSORRT, CUDA, CPU), loads))
    assert "--engine cpu" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, DeviceError)


def test_without_a_driver_the_driver_is_what_is_missing(make_manifest: Callable[..., Manifest]) -> None:
    def no_gpu() -> Device:
        raise NoDriver("no driver")

    ort = FakeOrt((CPU,), (CPU,))
    with pytest.raises(NoDriver):
        opened(make_manifest(), "cuda", ort, no_gpu)
    opened(make_manifest(), "cpu", ort, no_gpu)  # nobody asks


def test_there_are_three_providers(make_manifest: Callable[..., Manifest]) -> None:
    with pytest.raises(UsageError, match="cpu, cuda, tensorrt"):
        opened(make_manifest(), "openvino", FakeOrt((CPU,), (CPU,)))


def test_a_graph_on_the_gpu_is_held_to_its_manifest_too(make_manifest: Callable[..., Manifest]) -> None:
    with pytest.raises(ArtifactError, match="manifest asks for"):
        opened(make_manifest(), "cuda", FakeOrt((CUDA, CPU), (CUDA, CPU), tile_px=64))


@pytest.mark.parametrize(
    ("precision", "half", "int8"), [("fp32", "False", "False"), ("fp16", "True", "False"), ("int8", "True", "True")]
)
def test_tensorrt_may_use_the_precisions_of_the_graph_and_keeps_its_engines(
    make_manifest: Callable[..., Manifest], own_cache: Path, precision: str, half: str, int8: str
) -> None:
    fields = {"calibration": Calibration("minmax", 0, {"dark": 1}, ("ab" * 32,))} if precision == "int8" else {}
    ort = FakeOrt((TENSORRT, CUDA, CPU), (TENSORRT, CUDA, CPU))
    opened(make_manifest(precision=precision, **fields), "tensorrt", ort)
    name, options = ort.sessions[0].asked[0]
    assert name == TENSORRT
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (half, int8)
    assert options["trt_engine_cache_path"] == str(own_cache / "onnxruntime")
    assert (own_cache / "onnxruntime").stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_made_costs_the_cache_alone(
    make_manifest: Callable[..., Manifest], own_cache: Path
) -> None:
    own_cache.write_text("a file where the folder should be")
    ort = FakeOrt((TENSORRT, CUDA, CPU), (TENSORRT, CUDA, CPU))
    opened(make_manifest(), "tensorrt", ort)
    assert "trt_engine_cache_enable" not in ort.sessions[0].asked[0][1]


def test_sessions_are_deterministic_and_silent() -> None:
    options = session_options()
    assert options.use_deterministic_compute
    assert options.log_severity_level == 4
    assert session_options(FakeOrt((CPU,), (CPU,))).use_deterministic_compute


@pytest.mark.parametrize("spinning", [False, True])
def test_threads_that_wait_leave_their_cores_to_others_unless_told(spinning: bool) -> None:
    found = session_options(spinning=True) if spinning else session_options()
    assert found.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spinning))


def test_the_number_of_threads_reaches_the_session(make_manifest: Callable[..., Manifest]) -> None:
    ort = FakeOrt((CPU,), (CPU,))
    open_onnxruntime(Path("student.onnx"), make_manifest(), threads=3, ort=ort)
    assert ort.sessions[0].options.intra_op_num_threads == 3
    with pytest.raises(UsageError, match="threads"):
        open_onnxruntime(Path("student.onnx"), make_manifest(), threads=-1, ort=ort)


def test_the_real_one_opens_answers_and_closes(make_model: Callable[..., Path]) -> None:
    path = make_model(1 / 255, 0.0)
    engine = open_onnxruntime(path, read_artifact(path).manifest)
    tiles = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(engine(tiles), tiles[:, :1] / 255, atol=1e-6)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine(tiles)


def test_the_real_one_without_a_gpu_refuses_the_gpu(make_model: Callable[..., Path]) -> None:
    path = make_model()
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this is onnxruntime-gpu")
    with pytest.raises(ProviderFellBack, match="onnxruntime-gpu"):
        open_onnxruntime(path, read_artifact(path).manifest, provider="cuda", find_gpu=a_gpu)
