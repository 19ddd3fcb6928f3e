"""Parts are told the same in each process, and keep their cases to their time."""

from __future__ import annotations

from pathlib import Path

from fake_time import FakeClock
from gpu_reports import findings, task_in

from kda_edge.benchmarks.gpu.parts import PARTS, Task, is_out_of_memory
from kda_edge.errors import EngineError


def test_memory_is_not_blamed_for_other_errors() -> None:
    assert not is_out_of_memory(EngineError("it answered otherwise"))


def test_a_case_that_no_longer_fits_is_left_out_by_name() -> None:
    clock = FakeClock()
    found = findings(10.0, clock)
    assert found.has_time_for("first", 9.0)
    clock.pass_ms(2000)
    assert not found.has_time_for("second", 9.0)
    assert found.left_out == ["second: no time was left"]


def test_a_task_survives_the_way_to_its_process(tmp_path: Path) -> None:
    task = task_in(tmp_path, rehearsal=True, scene=Path("a.tif"), golden=None)
    assert Task.from_json(task.to_json()) == task
    assert task.device == "cuda"


def test_the_parts_come_in_the_order_of_their_value() -> None:
    assert list(PARTS) == [
        *("facts", "models", "onnxruntime", "pytorch", "training", "scene", "tensorrt", "student"),
    ]
