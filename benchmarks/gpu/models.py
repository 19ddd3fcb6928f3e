"""The part `models`: students made ready for the others, checkpoints and artifacts, in the report's folder.

Needs no GPU: `--prepare` does it anywhere before a visit. What is there is not made again.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.whole_files import write_whole

from ..commands.sweep_runs import Export, exported
from .part_process import LOGS, run_limited
from .parts import Findings, NotPossibleHere, Task

FOLDER: Final = "models"
BUNDLED: Final = "bundled"
PRECISIONS: Final = ("fp32", "fp16")
EXPORT_S: Final = 10.0  # the least that an export takes: below, none is begun
REHEARSAL_TILE_PX: Final = 64


@dataclass(frozen=True)
class Student:
    """A student that is measured.

    Attributes:
        name: in tables.
        variant: its size.
        tile_px: side of its tile.
        weights: what they are, for readers.
    """

    name: str
    variant: str
    tile_px: int
    weights: str


def students(task: Task) -> list[Student]:
    """Return the students of a report, in the order of their value."""
    bundled = Student(BUNDLED, "tf_efficientnet_lite0+fpn", 256, "the bundled student's")
    if task.rehearsal:
        return [bundled, Student("nano", "nano", REHEARSAL_TILE_PX, "from a seed; they learned nothing")]
    rule = "by the golden rule" if task.golden is not None else "from a seed"
    return [
        bundled,
        Student("base", "base", 512, f"{rule}; they learned nothing"),
        Student("nano", "nano", 256, "from a seed; they learned nothing"),
    ]


def checkpoint_of(student: Student, out: Path) -> Path | None:
    """Return where a student's checkpoint lies; None: it is not there."""
    path = _kept_checkpoint(student, out)
    if student.name == BUNDLED and not path.is_file():
        path = _bundled()
    return path if path.is_file() else None


def _kept_checkpoint(student: Student, out: Path) -> Path:
    return out / FOLDER / f"{student.name}.pt"


def _bundled() -> Path:
    return Path(str(resources.files("kda_edge.runtime").joinpath("bundled/student_lite0.pt")))  # in a clone alone


def artifact_of(student: Student, precision: str, out: Path) -> Path | None:
    """Return where a student's artifact lies; None: it is not there."""
    if student.name == BUNDLED and precision == "fp32":
        return read_artifact(None).path
    path = out / FOLDER / f"{student.name}_{precision}.onnx"
    return path if path.is_file() else None


def run(task: Task, findings: Findings, *, export: Callable[[Export], Path | str] = exported) -> None:
    """Make what is missing: seeded or golden checkpoints, then artifacts; in a rehearsal the checkpoints alone.

    Raises:
        NotPossibleHere: PyTorch is not installed.
    """
    folder = task.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    found = students(task)
    findings.settings |= {one.name: {"variant": one.variant, "weights": one.weights} for one in found}
    if not task.rehearsal and all(artifact_of(one, precision, task.out) for one in found for precision in PRECISIONS):
        return
    if importlib.util.find_spec("torch") is None:
        raise NotPossibleHere("PyTorch is not installed; the students that lie here already are measured")
    for student in found:
        path = _kept_checkpoint(student, task.out)
        if not path.is_file():
            _write_checkpoint(student, path, task, findings)
    if task.rehearsal:
        findings.notes.append("a rehearsal exports nothing")
        return
    for precision in reversed(PRECISIONS):  # FP16 is what cards are bought for
        for student in students(task):
            _export(student, precision, task, findings, export)
            findings.save()


def _export(
    student: Student, precision: str, task: Task, findings: Findings, export: Callable[[Export], Path | str]
) -> None:
    case = f"{student.name} {precision}"
    if artifact_of(student, precision, task.out) is not None:
        return
    checkpoint = checkpoint_of(student, task.out)
    if checkpoint is None:
        findings.notes.append(f"{case}: its checkpoint is in a clone of the project alone; not exported")
    elif findings.has_time_for(case, EXPORT_S):
        made = export(Export(checkpoint, precision, None, None, None, task.out / FOLDER))
        if isinstance(made, str):
            findings.left_out.append(f"{case}: not exported ({made})")


def _write_checkpoint(student: Student, path: Path, task: Task, findings: Findings) -> None:
    """Write a student's checkpoint: the bundled one's where a clone has it, by the golden rule, or from a seed."""
    if student.name == BUNDLED:
        if _bundled().is_file():
            write_whole(path, _bundled().read_bytes())  # taken along, it need not be exported there
    elif task.golden is not None and student.variant == "base":
        words = [sys.executable, "-m", "kda_edge.benchmarks.studies.golden_checkpoint", "--golden", str(task.golden)]
        words += ["--variant", student.variant, "-o", str(path)]
        ended = run_limited(words, task.out / LOGS / "golden_checkpoint.log", max(findings.remaining_s(), 1.0))
        if ended.code:
            raise UsageError(f"{student.name} is not filled ({ended.last_line or 'no time was left'}); see --golden")
    else:
        write_seeded(student, path)


def write_seeded(student: Student, path: Path) -> None:
    """Write the checkpoint of a student whose weights come from a seed."""
    import torch

    from kda_edge.networks import student as networks
    from kda_edge.networks.checkpoint import Checkpoint, write_checkpoint

    torch.manual_seed(0)
    network = networks.Student(student.variant).eval()
    write_checkpoint(path, Checkpoint(network, InputContract(), 0.5, TrainingRecord(), student.tile_px))
