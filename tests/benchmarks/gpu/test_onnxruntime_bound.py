"""ONNX Runtime's provider is really used: one that is missing, falls back in silence or takes no memory is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from gpu_reports import PROCESSOR, findings, task_in, values

from kda_edge.benchmarks.gpu.onnxruntime_bound import (
    REFUSE_CPU,
    BoundSession,
    Surroundings,
    require_growth,
    run,
)
from kda_edge.errors import EngineError, NoDriver, ProviderFellBack
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.in_turns import example_tiles
from kda_edge.runtime.engines.onnxruntime_engine import CPU, CUDA, CUDA_OPTIONS, open_onnxruntime
from kda_edge.runtime.hardware.gpu_probe import Device


class FakeSession:
    """A session of a provider."""

    def __init__(self, providers: list[str]) -> None:
        self.providers = providers

    def get_providers(self) -> list[str]:
        return self.providers

    def disable_fallback(self) -> None:
        pass


class FakeOrt(SimpleNamespace):
    """onnxruntime with a CUDA provider that behaves as told."""

    def __init__(self, *, offers: bool = True, loads: bool = True, refuses_strict: bool = False) -> None:
        super().__init__(__version__="1.32.0", SessionOptions=lambda: self.options)
        self.entries: dict[str, str] = {}
        self.options = SimpleNamespace(add_session_config_entry=self.entries.__setitem__)
        self.offers, self.loads, self.refuses_strict = offers, loads, refuses_strict
        self.asked: list[tuple[str, ...]] = []
        self.told: list[Any] = []

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU] if self.offers else [CPU]

    def InferenceSession(self, path: str, options: Any, *, providers: list[Any], enable_fallback: int) -> FakeSession:  # noqa: N802
        assert enable_fallback == 0
        names = [one if isinstance(one, str) else one[0] for one in providers]
        self.asked.append(tuple(names))
        self.told.append(providers[0][1])
        if self.refuses_strict and names == [CUDA]:
            raise RuntimeError("This session contains graph nodes that are assigned to the default CPU EP")
        return FakeSession(names if self.loads else [CPU])


def device() -> Device:
    return Device(0, "NVIDIA GeForce RTX 3090", (8, 6), "13.0", 25_438_126_080)


def test_a_build_without_the_provider_is_told_before_anything_is_opened() -> None:
    ort = FakeOrt(offers=False)
    with pytest.raises(ProviderFellBack, match="onnxruntime-gpu"):
        BoundSession(Path("x.onnx"), "cuda", ort)
    assert ort.asked == []


def test_a_provider_that_did_not_load_is_told() -> None:
    with pytest.raises(ProviderFellBack, match="could not load it"):
        BoundSession(Path("x.onnx"), "cuda", FakeOrt(loads=False))


def test_nodes_on_the_processor_are_refused_first_and_told_where_that_cannot_be() -> None:
    strict = FakeOrt()
    session = BoundSession(Path("x.onnx"), "cuda", strict)
    assert strict.entries[REFUSE_CPU] == "1"
    assert strict.asked == [(CUDA,)]
    assert session.notes == []
    mixed = FakeOrt(refuses_strict=True)
    told = BoundSession(Path("x.onnx"), "cuda", mixed).notes
    assert mixed.asked == [(CUDA,), (CUDA, CPU)]
    assert mixed.told == [dict(CUDA_OPTIONS)] * 2  # float32 is computed in float32
    assert "puts some nodes on the processor" in told[0]


@pytest.mark.parametrize(("after_mb", "falls_back"), [(1020.0, False), (1001.0, True)])
def test_a_model_that_took_no_memory_on_the_device_runs_elsewhere(
    after_mb: float, falls_back: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(bytes(13_000_000))
    found = findings()
    if falls_back:
        with pytest.raises(EngineError, match="runs on the processor"):
            require_growth(1000.0, after_mb, path, found)
    else:
        require_growth(1000.0, after_mb, path, found)
    for _ in range(2):
        require_growth(None, after_mb, path, found)
    assert len(found.notes) == 1
    assert "was not checked" in found.notes[0]


def test_without_a_driver_nothing_is_opened(tmp_path: Path) -> None:
    def none() -> Device:
        raise NoDriver("there is no NVIDIA driver here")

    with pytest.raises(NoDriver):
        run(task_in(tmp_path), findings(), around=Surroundings(FakeOrt(), none, lambda: None))


def test_an_artifact_that_fails_is_named_and_the_next_is_tried(tmp_path: Path) -> None:
    """Each is tried though the session of none computes; a damaged one does not cost the rest."""
    (tmp_path / "models").mkdir()
    for name in ("base_fp16", "nano_fp16"):
        (tmp_path / "models" / f"{name}.onnx").write_bytes(b"no model")
    found = findings()
    run(task_in(tmp_path), found, around=Surroundings(FakeOrt(), device, lambda: None))
    assert [failure.partition(":")[0] for failure in found.failures] == ["base fp16", "bundled fp32", "nano fp16"]


def test_a_bound_session_answers_as_the_engine_does() -> None:
    artifact = read_artifact(None)
    tiles = example_tiles(artifact.manifest, 2)
    expected = open_onnxruntime(artifact.path, artifact.manifest)(tiles)
    np.testing.assert_array_equal(BoundSession(artifact.path, "cpu", onnxruntime)(tiles), expected)


def test_on_a_processor_the_bundled_student_keeps_to_its_budget_and_is_timed(tmp_path: Path) -> None:
    found = findings()
    run(task_in(tmp_path, card=PROCESSOR, rehearsal=True), found)
    told = values(found)
    assert told["parity.within_budget"] == 1.0
    assert told["latency.p50"] > 0
    assert {figure.of["model"] for figure in found.figures} == {"bundled"}
    assert sum("there is no artifact" in note for note in found.notes) == 3  # the seeded one, and FP16 of both
