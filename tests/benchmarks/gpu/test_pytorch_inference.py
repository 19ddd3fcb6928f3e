"""Students in PyTorch are held to the processor and timed; what is called compiled is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gpu_reports import PROCESSOR, findings, task_in

from kda_edge.benchmarks.gpu import pytorch_inference
from kda_edge.benchmarks.gpu.models import REHEARSAL_TILE_PX, Student, write_seeded
from kda_edge.benchmarks.gpu.parts import NotPossibleHere, Task
from kda_edge.benchmarks.gpu.pytorch_inference import OnDevice, run

NANO = Student("nano", "nano", REHEARSAL_TILE_PX, "from a seed")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "models").mkdir()
    write_seeded(NANO, tmp_path / "models" / "nano.pt")
    return task_in(tmp_path, card=PROCESSOR, rehearsal=True)


def test_a_card_that_pytorch_does_not_see_is_told(task: Task) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a card here")
    with pytest.raises(NotPossibleHere, match="sees no card"):
        run(task_in(task.out), findings())


def test_each_precision_and_mode_is_timed_and_eager_answers_are_held_to_the_processor(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[bool] = []

    def compile_none(module: Any, **options: Any) -> Any:
        compiled.append(options["dynamic"])
        return module

    monkeypatch.setattr(torch, "compile", compile_none)
    found = findings()
    run(task, found)
    cases = {(figure.of["mode"], figure.of["precision"]) for figure in found.figures if figure.name == "latency.p50"}
    assert cases == {("eager", "fp32"), ("eager", "bf16"), ("compile", "fp32")}
    assert compiled == [False]
    judged = {figure.of["precision"]: figure.value for figure in found.figures if figure.name == "parity.max_abs"}
    assert judged["fp32"] == 0.0
    assert 0 < judged["bf16"] < 0.1
    assert found.failures == []


def test_each_compiled_case_begins_anew(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """After eight variants of one function PyTorch stops compiling it without an error."""
    resets: list[bool] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(True))
    monkeypatch.setattr(pytorch_inference, "_one_case", lambda *_, **__: None)
    run(task, findings())
    assert len(resets) == 3


def test_a_case_that_fails_is_named_and_the_others_are_measured(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(pytorch_inference, "REHEARSED", (("compile", "fp32"), ("eager", "fp32")))
    found = findings()
    run(task, found)
    assert found.failures == ["nano fp32 compile: RuntimeError: Failed to find C compiler"]
    assert {figure.of["mode"] for figure in found.figures} == {"eager"}


def test_the_processor_answers_each_tile_once_for_all_cases(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    on_device = OnDevice.__call__

    def noted(self: OnDevice, tiles: Any) -> Any:
        asked.append(tiles.tobytes())
        return on_device(self, tiles)

    monkeypatch.setattr(OnDevice, "__call__", noted)
    monkeypatch.setattr(pytorch_inference, "REHEARSED", (("eager", "fp32"), ("eager", "bf16")))
    monkeypatch.setattr(pytorch_inference, "BATCHES", (1,))
    run(task, findings())
    assert [asked.count(tile) for tile in dict.fromkeys(asked)] == [3, 3, 3]  # one believed, two judged


def test_without_checkpoints_the_students_are_named(tmp_path: Path) -> None:
    found = findings()
    run(task_in(tmp_path, card=PROCESSOR, rehearsal=True), found)
    assert "nano: there is no checkpoint; see the part models" in found.notes


def test_an_answer_is_a_probability_in_float32(task: Task) -> None:
    tiles = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 64)).astype(np.float32)
    answer = OnDevice(NANO, "bf16", "eager", task)(tiles)
    assert answer.dtype == np.float32
    assert answer.shape == (2, 1, 64, 64)
    assert 0 <= answer.min() <= answer.max() <= 1
