"""ONNX Runtime's providers for GPUs are held to its CPU as TensorRT's engines are; the fakes answer wrongly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu_answers import (
    ORIN,
    Computes,
    constant,
    not_a_number,
    right,
    sampling_in,
    sampling_model,
    shifted_sampling,
    wrong_on_half_nodata,
)

from kda_edge.errors import NoDriver, WrongAnswers
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.model_engine import ModelEngine
from kda_edge.runtime.engines.onnxruntime_engine import open_onnxruntime
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine
from kda_edge.runtime.parity.provider_engines import GpuProviders


class FakeProvider:
    """A model on a GPU that computes what it is told to."""

    max_batch = None

    def __init__(self, graph: bytes, manifest: Manifest, computes: Computes) -> None:
        self.graph, self.manifest, self.computes, self.closed = graph, manifest, computes, False

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        assert not self.closed
        return self.computes(self.graph, tiles)

    def close(self) -> None:
        self.closed = True


@dataclasses.dataclass
class Machine:
    """A GPU behind ONNX Runtime's providers; `opened` are the models on it, and `compared` counts those on the CPU."""

    root: Path
    computes: Computes = right
    release: str = "560.35"
    opened: list[FakeProvider] = dataclasses.field(default_factory=list)
    compared: int = 0

    def open_onnxruntime(
        self, path: Path, manifest: Manifest, *, provider: str = "cpu", threads: int, graph: bytes | None = None
    ) -> ModelEngine:
        if provider == "cpu":
            self.compared += 1
            return open_onnxruntime(path, manifest, threads=1)
        self.opened.append(FakeProvider(graph or path.read_bytes(), manifest, self.computes))
        return self.opened[-1]

    def open(self, model: Path, engine: str) -> OpenedEngine:
        around = GpuProviders(lambda: ORIN, self.open_onnxruntime, lambda: self.release, self.root)
        return open_engine(model, engine=engine, on_gpu=around)


@pytest.fixture
def model(make_manifest: Callable[..., Manifest], tmp_path: Path) -> Path:
    return sampling_model(tmp_path / "student.onnx", make_manifest())


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Machine]:
    return lambda *arguments, **facts: Machine(tmp_path / "cache", *arguments, **facts)


@pytest.mark.parametrize("engine", ["cuda", "ort-tensorrt"])
def test_a_provider_that_answers_as_the_cpu_does_is_opened_once_and_compared_once(
    model: Path, machine: Callable[..., Machine], engine: str
) -> None:
    first, again = machine(), machine()
    for each in (first, again):
        with each.open(model, engine) as opened:
            assert (opened.name, opened.notes) == (engine, ())
            assert opened.facts.graph_sha256 == read_artifact(model).graph_sha256
            told: dict[str, Any] = json.loads(opened.facts.measured)
        assert (told["engine"], told["sampling"], told["batch"]) == (engine, "gridsample", 1)
        assert told["depends_on"]["gpu_driver"] == "560.35"
        assert len(each.opened) == 1
        assert each.opened[0].closed
    assert (first.compared, again.compared) == (1, 0)


def test_what_was_found_of_one_provider_says_nothing_of_the_other(model: Path, machine: Callable[..., Machine]) -> None:
    machine().open(model, "cuda").close()
    other = machine()
    other.open(model, "ort-tensorrt").close()
    assert other.compared == 1


@pytest.mark.parametrize("fault", [constant, not_a_number, wrong_on_half_nodata])
@pytest.mark.parametrize("engine", ["cuda", "ort-tensorrt"])
def test_a_provider_that_is_wrong_in_both_forms_is_refused_and_closed(
    model: Path, machine: Callable[..., Machine], engine: str, fault: Computes
) -> None:
    wrong = machine(fault)
    with pytest.raises(WrongAnswers, match=f"provider for {engine} on Orin does not answer .* tile '") as caught:
        wrong.open(model, engine)
    assert "\n" not in str(caught.value)
    assert [each.closed for each in wrong.opened] == [True, True]
    assert [sampling_in(each.graph) for each in wrong.opened] == ["gridsample", "gather"]


def test_wrong_grid_sampling_is_gone_with_gathers(model: Path, machine: Callable[..., Machine]) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (1, 3, 32, 32)).astype(np.float32)
    for expected in (2, 1):  # compared in both forms, then remembered
        each = machine(shifted_sampling)
        with each.open(model, "cuda") as opened:
            (note,) = opened.notes
            np.testing.assert_allclose(opened(tiles), right(model.read_bytes(), tiles), atol=1e-5)
            assert opened.facts.graph_sha256 != read_artifact(model).graph_sha256
            assert json.loads(opened.facts.measured)["sampling"] == "gather"
        assert "computed by gathers" in note
        assert len(each.opened) == expected
        assert all(engine.closed for engine in each.opened)


def test_after_a_change_of_the_driver_it_is_compared_again(model: Path, machine: Callable[..., Machine]) -> None:
    machine().open(model, "cuda").close()
    with pytest.raises(WrongAnswers):
        machine(constant, release="570.1").open(model, "cuda")


def test_an_interrupted_comparison_is_not_remembered_and_leaves_nothing_open(
    model: Path, machine: Callable[..., Machine], tmp_path: Path
) -> None:
    def interrupted(graph: bytes, tiles: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    wrong = machine(interrupted)
    with pytest.raises(KeyboardInterrupt):
        wrong.open(model, "cuda")
    assert [each.closed for each in wrong.opened] == [True]
    assert not list(tmp_path.rglob("*.json"))
    again = machine()
    again.open(model, "cuda").close()
    assert again.compared == 1


def test_without_a_driver_nothing_is_opened(model: Path, machine: Callable[..., Machine]) -> None:
    def none() -> Any:
        raise NoDriver("no driver")

    each = machine()
    around = GpuProviders(none, each.open_onnxruntime, lambda: "", each.root)
    with pytest.raises(NoDriver):
        open_engine(model, engine="cuda", on_gpu=around)
    assert each.opened == []
