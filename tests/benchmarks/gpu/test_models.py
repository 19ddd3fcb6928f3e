"""Students are made ready once, anywhere; what can't be exported is named and stops nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_reports import PROCESSOR, findings, task_in

from kda_edge.benchmarks.commands.sweep_runs import Export
from kda_edge.benchmarks.gpu.models import BUNDLED, artifact_of, checkpoint_of, run, students
from kda_edge.errors import UsageError
from kda_edge.networks.checkpoint import read_checkpoint


def test_a_rehearsal_makes_a_seeded_student_of_its_size(tmp_path: Path) -> None:
    task = task_in(tmp_path, card=PROCESSOR, rehearsal=True)
    run(task, findings())
    nano = students(task)[-1]
    path = checkpoint_of(nano, tmp_path)
    assert path is not None
    checkpoint = read_checkpoint(path)
    assert (checkpoint.student.variant, checkpoint.tile_px) == ("nano", nano.tile_px)
    before = path.read_bytes()
    run(task, findings())
    assert path.read_bytes() == before


def test_what_is_missing_is_exported_half_precision_first_and_a_refusal_is_named(tmp_path: Path) -> None:
    task, asked = task_in(tmp_path, card=PROCESSOR), list[str]()
    (tmp_path / "models").mkdir()
    for name in ("base", "nano"):  # checkpoints that nobody reads here
        (tmp_path / "models" / f"{name}.pt").write_bytes(b"x")
    (tmp_path / "models" / "nano_fp16.onnx").write_bytes(b"x")

    def export(wanted: Export) -> Path | str:
        asked.append(wanted.name)
        if "base_fp32" in wanted.name:
            return "memory ran out"
        path = wanted.folder / wanted.name
        path.write_bytes(b"x")
        return path

    found = findings()
    run(task, found, export=export)
    assert asked == ["bundled_fp16.onnx", "base_fp16.onnx", "base_fp32.onnx", "nano_fp32.onnx"]
    assert found.left_out == ["base fp32: not exported (memory ran out)"]
    by_name = {student.name: student for student in students(task)}
    assert artifact_of(by_name["base"], "fp32", tmp_path) is None
    assert artifact_of(by_name["bundled"], "fp16", tmp_path) == tmp_path / "models" / "bundled_fp16.onnx"
    assert found.settings["base"]["weights"] == "from a seed; they learned nothing"


def test_without_time_nothing_is_exported(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in ("base", "nano"):
        (tmp_path / "models" / f"{name}.pt").write_bytes(b"x")
    found = findings(1.0)
    run(task_in(tmp_path, card=PROCESSOR), found, export=lambda _: "must not be asked")
    assert len(found.left_out) == 5
    assert all(said.endswith("no time was left") for said in found.left_out)


def test_a_folder_that_was_made_ready_elsewhere_is_complete_by_itself(tmp_path: Path) -> None:
    """On the card's machine there may be no clone, no PyTorch and no time."""
    task = task_in(tmp_path, card=PROCESSOR)
    (tmp_path / "models").mkdir()
    for name in ("base_fp16", "base_fp32", "nano_fp16", "nano_fp32"):
        (tmp_path / "models" / f"{name}.onnx").write_bytes(b"x")
    for name in ("base", "nano"):
        (tmp_path / "models" / f"{name}.pt").write_bytes(b"x")

    def export(wanted: Export) -> Path | str:
        path = wanted.folder / wanted.name
        path.write_bytes(b"x")
        return path

    run(task, findings(), export=export)
    bundled = students(task)[0]
    assert checkpoint_of(bundled, tmp_path) == tmp_path / "models" / f"{BUNDLED}.pt"  # taken along too

    def never(wanted: Export) -> Path | str:
        raise AssertionError(wanted)

    for path in (tmp_path / "models").glob("*.pt"):
        path.unlink()
    run(task, findings(), export=never)
    assert list((tmp_path / "models").glob("*.pt")) == []


def test_a_folder_without_the_golden_rule_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    task = task_in(tmp_path / "out", card=PROCESSOR, golden=tmp_path)
    with pytest.raises(UsageError, match=r"base is not filled .*does not hold fill\.py"):
        run(task, findings(), export=lambda _: "not needed")
