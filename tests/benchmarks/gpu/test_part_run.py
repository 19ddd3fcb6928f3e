"""A part ends in a file that says how it ended, in whichever way it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gpu_reports import task_in

from kda_edge.benchmarks.gpu.part_file import path_of, read_part
from kda_edge.benchmarks.gpu.part_run import run_part
from kda_edge.benchmarks.gpu.parts import OUT_OF_MEMORY, PARTS, Findings, NotPossibleHere, Task
from kda_edge.benchmarks.reporting.result import Figure
from kda_edge.errors import EngineError, MissingDependency, NoDriver, OutOfDeviceMemory, ProviderFellBack

PART = PARTS["pytorch"]


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch's."""


def raising(error: BaseException) -> Callable[[Task, Findings], None]:
    def run(task: Task, found: Findings) -> None:
        found.figures.append(Figure("latency.p50", 1.0, "ms"))
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (NoDriver("there is no NVIDIA driver here"), "not_possible", "there is no NVIDIA driver here"),
        (ProviderFellBack("no provider"), "not_possible", "no provider"),
        (MissingDependency("torch", extra="train"), "not_possible", "torch is not installed"),
        (NotPossibleHere("no imagery"), "not_possible", "no imagery"),
        (OutOfMemoryError("CUDA out of memory. Tried"), "failed", OUT_OF_MEMORY),
        (RuntimeError("[ONNXRuntimeError] : BFCArena: Failed to allocate memory for"), "failed", OUT_OF_MEMORY),
        (OutOfDeviceMemory("x"), "failed", OUT_OF_MEMORY),
        (EngineError("it answered NaN"), "failed", "it answered NaN"),
        (RuntimeError("device-side assert\nmore"), "failed", "RuntimeError: device-side assert"),
    ],
)
def test_each_failure_becomes_a_status_and_a_line_and_what_was_found_stands(
    error: BaseException, status: str, reason: str, tmp_path: Path
) -> None:
    ended = run_part(PART, task_in(tmp_path), raising(error))
    assert ended.status == status
    assert ended.reason.startswith(reason)
    assert "\n" not in ended.reason
    assert read_part(path_of(tmp_path, "pytorch")) == ended
    assert ended.result is not None
    assert [figure.name for figure in ended.result.figures] == ["latency.p50"]


def test_until_its_end_a_part_is_unfinished_on_disk_with_what_it_has(tmp_path: Path) -> None:
    seen = []

    def run(task: Task, found: Findings) -> None:
        seen.append(read_part(path_of(task.out, "pytorch")))
        found.figures.append(Figure("latency.p50", 1.0, "ms"))
        found.save()
        seen.append(read_part(path_of(task.out, "pytorch")))

    assert run_part(PART, task_in(tmp_path), run).status == "done"
    assert [one.status for one in seen] == ["unfinished", "unfinished"]
    assert [len(one.result.figures) for one in seen if one.result] == [0, 1]


def test_an_answer_beyond_its_budget_fails_the_part_that_went_on(tmp_path: Path) -> None:
    def run(task: Task, found: Findings) -> None:
        found.failures += ["nano fp16 answers otherwise", "base too"]

    ended = run_part(PART, task_in(tmp_path), run)
    assert (ended.status, ended.reason) == ("failed", "nano fp16 answers otherwise; base too")
