"""Engines are built, held to the processor and timed, and the tests for a GPU have their say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gpu_reports import PROCESSOR, findings, task_in, values
from places import ROOT

from kda_edge.benchmarks.gpu.part_process import Ended
from kda_edge.benchmarks.gpu.tensorrt_engines import run
from kda_edge.errors import MissingDependency, NoDriver
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.onnxruntime_engine import open_onnxruntime


class FakeEngine:
    """What `open_engine` gives: the bundled student on the CPU, its answers moved by `off`."""

    def __init__(self, off: float) -> None:
        artifact = read_artifact(None)
        self.inside, self.off = open_onnxruntime(artifact.path, artifact.manifest), off
        self.manifest, self.notes, self.runs = artifact.manifest, ("built anew",), SimpleNamespace(build_s=12.0)

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        return np.clip(self.inside(tiles) + np.float32(self.off), 0, 1)

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.inside.close()


def nothing_started(words: Sequence[str], log: Path, limit_s: float) -> Ended:
    raise AssertionError(words)


def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, off: float = 0.0, tests: Ended | None = None) -> Any:
    monkeypatch.chdir(ROOT if tests else tmp_path)
    found, asked = findings(), list[Any]()

    def opened(path: Path, *, engine: str) -> FakeEngine:
        asked.append((path.name, engine))
        return FakeEngine(off)

    def start(words: Sequence[str], log: Path, limit_s: float) -> Ended:
        assert "pytest" in words
        assert tests is not None
        return tests

    task = task_in(tmp_path, card=PROCESSOR, rehearsal=True)
    run(task, found, opened=opened, start=start, find_gpu=lambda: None, is_installed=lambda: True)  # type: ignore[arg-type,return-value]
    assert asked == [("student_lite0.onnx", "tensorrt")]
    return found


def test_without_the_library_or_a_driver_nothing_of_tensorrt_is_touched(tmp_path: Path) -> None:
    def no_driver() -> Any:
        raise NoDriver("there is no NVIDIA driver here")

    with pytest.raises(MissingDependency):
        run(task_in(tmp_path), findings(), start=nothing_started, is_installed=lambda: False)
    with pytest.raises(NoDriver):
        run(task_in(tmp_path), findings(), start=nothing_started, find_gpu=no_driver, is_installed=lambda: True)


def test_an_engine_is_held_to_the_processor_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ran(tmp_path, monkeypatch)
    told = values(found)
    assert told["engine.built"] == 12.0
    assert told["parity.within_budget"] == 1.0
    assert told["latency.p50"] > 0
    assert "bundled fp32: built anew" in found.notes
    assert "INT8: needs imagery to calibrate on; give --scene" in found.notes
    assert any("not at hand" in note for note in found.notes)  # the tests: not in a clone


def test_an_engine_that_answers_otherwise_fails_the_part_with_its_worst_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ran(tmp_path, monkeypatch, off=0.01)
    (failure,) = found.failures
    assert failure.startswith("bundled fp32 answers otherwise than ONNX Runtime on the CPU")
    assert "on the tile '" in failure


@pytest.mark.parametrize(
    ("ended", "where"),
    [
        (Ended(0, False, "12 passed in 90 s"), "notes"),
        (Ended(1, False, "1 failed"), "failures"),
        (Ended(-9, True, ""), "left_out"),
    ],
)
def test_the_tests_for_a_gpu_have_their_say(
    ended: Ended, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ran(tmp_path, monkeypatch, tests=ended)
    assert any(said.startswith(("tests for a GPU", "the tests for a GPU fail")) for said in getattr(found, where))
