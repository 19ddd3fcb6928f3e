"""The part `tensorrt`: engines built on this card, proven, held to the processor's answers, and timed.

Building, the proof of precision, CUDA graphs and the gate of INT8 are the runtime's own; the tests for a GPU are run
where they are at hand.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import MissingDependency
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.engines.in_turns import example_tiles
from kda_edge.runtime.engines.onnxruntime_engine import open_onnxruntime
from kda_edge.runtime.engines.tile_comparison import trial_tiles
from kda_edge.runtime.hardware.gpu_probe import Device, probe
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine

from ..measuring.tile_parity import budget_of, parities, require_digests
from ..reporting.measured_on import model_facts
from ..reporting.result import Figure
from .ladder import Case, climb, judge, work_of_artifact
from .models import FOLDER, PRECISIONS, Student, artifact_of, checkpoint_of, students
from .onnxruntime_bound import PROCESSORS_ANSWERS, REHEARSAL_TILES
from .part_process import LOGS, Ended, run_limited
from .parts import Findings, Task

TESTS: Final = Path("tests/runtime/tensorrt/test_gpu.py")
LEAST_BUILD_S: Final = 15.0
INT8: Final = "int8"
Open: TypeAlias = Callable[..., OpenedEngine]
Start: TypeAlias = Callable[[Sequence[str], Path, float], Ended]


def run(
    task: Task,
    findings: Findings,
    *,
    opened: Open = open_engine,
    start: Start = run_limited,
    find_gpu: Callable[[], Device] = probe,
    is_installed: Callable[[], bool] = lambda: importlib.util.find_spec("tensorrt") is not None,
) -> None:
    """Build and measure each artifact, then run the tests for a GPU.

    Raises:
        MissingDependency: TensorRT is not installed.
        DeviceError: there is no GPU.
    """
    if not is_installed():
        raise MissingDependency("tensorrt", extra="tensorrt")
    find_gpu()  # before TensorRT is touched: without a driver its bindings end the process
    for precision in (*reversed(PRECISIONS), INT8):
        for student in students(task):
            path = (
                _int8(student, task, findings, start)
                if precision == INT8
                else artifact_of(student, precision, task.out)
            )
            if path is not None and findings.has_time_for(f"{student.name} {precision}", LEAST_BUILD_S):
                _one_engine(student, precision, path, task, findings, opened=opened)
                findings.save()
    _tests(task, findings, start)


def _int8(student: Student, task: Task, findings: Findings, start: Start) -> Path | None:
    """Return the INT8 artifact of a student, exported where there is imagery to calibrate on."""
    checkpoint = checkpoint_of(student, task.out)
    if checkpoint is None or not checkpoint.is_file() or task.scene is None:
        note = "INT8: needs imagery to calibrate on; give --scene"
        if note not in findings.notes:
            findings.notes.append(note)
        return None
    path = task.out / FOLDER / f"{checkpoint.stem}_{INT8}.onnx"
    if not path.is_file() and findings.has_time_for(f"{student.name} {INT8}", LEAST_BUILD_S):
        words = [sys.executable, "-m", "kda_edge.export", "--ckpt", str(checkpoint), "-o", str(path), "--int8"]
        words += ["--calib", str(task.scene), "--target", "tensorrt"]
        ended = start(words, task.out / LOGS / f"export_{path.stem}.log", findings.remaining_s())
        if ended.code or ended.timed_out:
            findings.notes.append(f"{student.name} {INT8}: not exported ({ended.last_line})")
    return path if path.is_file() else None


def _one_engine(student: Student, precision: str, path: Path, task: Task, findings: Findings, *, opened: Open) -> None:
    artifact = read_artifact(path)
    of: dict[str, str | int] = {"model": student.name, "precision": precision}
    plain = artifact_of(student, "fp32", task.out) or path
    start_s = findings.clock()
    with opened(path, engine="tensorrt") as engine:
        findings.figures.append(Figure("engine.opened", findings.clock() - start_s, "s", "lower", of))
        runs: Any = engine.runs
        if hasattr(runs, "build_s"):
            findings.figures.append(Figure("engine.built", runs.build_s, "s", "lower", of))
        findings.notes += [f"{student.name} {precision}: {note}" for note in engine.notes]
        manifest = engine.manifest
        findings.models.append(model_facts(artifact))
        case = Case(of, manifest.tile_px, manifest.precision, work_of_artifact(plain, findings))
        tiles = trial_tiles(manifest)[: REHEARSAL_TILES if task.rehearsal else None]
        require_digests(tiles, manifest.certificate)
        reference = open_onnxruntime(plain, read_artifact(plain).manifest)
        rows = parities(tiles, reference, engine, manifest)
        reference.close()
        judge(case, rows, budget_of(manifest), findings, against=PROCESSORS_ANSWERS)
        findings.save()

        def call_of(batch: int) -> Callable[[], NDArray[np.float32]]:
            given = example_tiles(manifest, batch)
            return lambda: engine(given)

        climb(case, call_of, task, findings)


def _tests(task: Task, findings: Findings, start: Start) -> None:
    """Run the tests for a GPU where they are: in a clone, from its folder."""
    if not TESTS.is_file() or importlib.util.find_spec("pytest") is None:
        findings.notes.append("the tests for a GPU are not at hand; run the report in a clone with pytest installed")
        return
    if not findings.has_time_for("tests for a GPU", LEAST_BUILD_S):
        return
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-s", str(TESTS)]
    ended = start(words, task.out / LOGS / "tensorrt_tests.log", findings.remaining_s())
    if ended.timed_out:
        findings.left_out.append("tests for a GPU: no time was left")
    elif ended.code:
        findings.failures.append(f"the tests for a GPU fail: {ended.last_line}; see logs/tensorrt_tests.log")
    else:
        findings.notes.append(f"tests for a GPU: {ended.last_line}")
