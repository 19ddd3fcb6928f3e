"""OpenVINO is set up as promised, holds a graph to its manifest, fails in one line, and tells nobody that it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kda_edge.errors import ArtifactError, DeviceError, EngineError, KdaEdgeError, MissingDependency, TooOld
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.openvino_engine import OpenVinoEngine, load_openvino, open_openvino

try:
    OPENVINO: Any = load_openvino()
except KdaEdgeError:
    OPENVINO = None
real = pytest.mark.skipif(OPENVINO is None, reason="OpenVINO is not installed")


class FakePort:
    def __init__(self, name: str, sides: list[int]) -> None:
        self.name, self.sides = name, sides

    def get_names(self) -> set[str]:
        return {self.name}

    def get_element_type(self) -> Any:
        return SimpleNamespace(get_type_name=lambda: "f32")

    def get_partial_shape(self) -> list[Any]:
        return [SimpleNamespace(is_static=side > 0, get_length=lambda side=side: side) for side in self.sides]


class FakeOpenVino:
    """openvino on a CPU of given capabilities, which compiles in the precision that it likes."""

    __version__ = "2099.1.0-1-fake"

    def __init__(self, *, capabilities: tuple[str, ...] = ("FP32", "BF16"), likes: str = "", broken: str = "") -> None:
        self.settings: list[dict[str, Any]] = []
        self.reshaped: list[list[int]] = []
        self.capabilities, self.likes, self.broken = capabilities, likes, broken

    def Core(self) -> FakeOpenVino:  # noqa: N802 -- OpenVINO's own name
        return self

    def get_property(self, device: str, name: str) -> tuple[str, ...]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return self.capabilities

    def read_model(self, path: str) -> Any:
        if self.broken:
            raise RuntimeError(self.broken)
        ports = [FakePort("image", [-1, 3, 32, 32])], [FakePort("probability", [-1, 1, 32, 32])]
        return SimpleNamespace(inputs=ports[0], outputs=ports[1], reshape=self.reshaped.append)

    def compile_model(self, model: Any, device: str, settings: dict[str, Any]) -> Any:
        self.settings.append(settings)
        precision = self.likes or settings["INFERENCE_PRECISION_HINT"]
        return SimpleNamespace(
            get_property=lambda _: SimpleNamespace(get_type_name=lambda: precision), create_infer_request=object
        )


def opened(manifest: Manifest, ov: FakeOpenVino, **options: Any) -> OpenVinoEngine:
    return open_openvino(Path("student.onnx"), manifest, ov=ov, **options)


@pytest.mark.parametrize(("bfloat16", "precision"), [(False, "f32"), (True, "bf16")])
def test_precision_threads_and_streams_are_chosen_on_purpose(
    make_manifest: Callable[..., Manifest], bfloat16: bool, precision: str
) -> None:
    ov = FakeOpenVino()
    opened(make_manifest(), ov, bfloat16=bfloat16, threads=3)
    (settings,) = ov.settings
    assert settings["INFERENCE_PRECISION_HINT"] == precision
    assert settings.get("EXECUTION_MODE_HINT") == (None if bfloat16 else "ACCURACY")
    assert (settings["INFERENCE_NUM_THREADS"], settings["NUM_STREAMS"]) == (3, 3)
    assert settings["ENABLE_CPU_PINNING"] is False
    assert "CACHE_DIR" not in settings
    assert ov.reshaped == [[1, 3, 32, 32]]


def test_bfloat16_is_refused_where_the_cpu_has_none(make_manifest: Callable[..., Manifest]) -> None:
    ov = FakeOpenVino(capabilities=("FP32", "INT8"))
    with pytest.raises(DeviceError, match="bfloat16; use --engine openvino"):
        opened(make_manifest(), ov, bfloat16=True)
    opened(make_manifest(), ov)


@pytest.mark.parametrize(("bfloat16", "likes"), [(False, "bf16"), (True, "f32")])
def test_another_precision_than_the_one_asked_for_is_refused(
    make_manifest: Callable[..., Manifest], bfloat16: bool, likes: str
) -> None:
    with pytest.raises(DeviceError, match=f"would compute in {likes}"):
        opened(make_manifest(), FakeOpenVino(likes=likes), bfloat16=bfloat16)


def test_a_graph_that_openvino_does_not_take_is_one_line_with_its_reason(
    make_manifest: Callable[..., Manifest],
) -> None:
    said = "Exception from src/core.cpp:84:\nException from src/reader.cpp:148:\nno such operator: Warp\n\n"
    with pytest.raises(ArtifactError, match=r"\(no such operator: Warp\); use --engine cpu") as caught:
        opened(make_manifest(), FakeOpenVino(broken=said))
    assert "\n" not in str(caught.value)


def test_a_graph_in_openvino_is_held_to_its_manifest(make_manifest: Callable[..., Manifest]) -> None:
    with pytest.raises(ArtifactError, match=r"image float32 \['any', 3, 32, 32\] where its manifest asks for"):
        opened(make_manifest(tile_px=64), FakeOpenVino())


@real
@pytest.mark.parametrize("shape", [None, (1, 3, 32, 32), ("N", 3, "H", "W")], ids=["any batch", "batch of one", "any"])
def test_the_real_one_opens_answers_and_closes(make_model: Callable[..., Path], shape: tuple[Any, ...] | None) -> None:
    path = make_model(1 / 255, 0.0, shape=shape)
    engine = open_openvino(path, read_artifact(path).manifest)
    tiles = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(engine(tiles), tiles[:, :1] / 255, atol=1e-6)
    np.testing.assert_array_equal(engine(tiles[:, :, ::-1, ::-1]), engine(tiles)[:, :, ::-1, ::-1])  # any strides
    first = engine(tiles[:1])
    engine(tiles[1:])
    np.testing.assert_allclose(first, tiles[:1, :1] / 255, atol=1e-6)  # an answer stays when the next tile comes
    with pytest.raises(EngineError, match="takes tiles"):
        engine(np.zeros((1, 3, 8, 8), np.float32))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine(tiles)


@real
def test_the_real_one_refuses_a_graph_of_another_tile(make_model: Callable[..., Path]) -> None:
    path = make_model(shape=(1, 3, 64, 64))
    with pytest.raises(ArtifactError, match="manifest asks for"):
        open_openvino(path, read_artifact(path).manifest)


def test_without_openvino_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependency, match=r"pip install 'kda-edge\[openvino\]'"):
        load_openvino()
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.parametrize(("version", "taken"), [("2024.3.9-1", False), ("2023.12", False), ("2024.4.0-5", True)])
def test_an_openvino_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, version: str, taken: bool) -> None:
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(__version__=version))
    if taken:
        assert load_openvino().__version__ == version
        return
    with pytest.raises(TooOld, match=r"older than 2024\.4"):
        load_openvino()
