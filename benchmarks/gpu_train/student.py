"""The part `student`: the bundled student's recipe, trained on a card for the minutes that are left.

Teachers learn from the labels, then the student from labels and teachers, with all imagery in the card's memory
(`kda-train card`, docs/training.md). The student is kept every minute, and judged at the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..gpu.part_process import LOGS, run_limited
from ..gpu.parts import Findings, NotPossibleHere, Task
from ..reporting.result import Figure
from .training import lacking
from .watched_runs import FOLDER, Start, data_file, remove_run, watched

WEIGHTS: Final = "weights"  # folder beside the imagery with ImageNet's weights of the encoders
SET: Final = "set.zip"
LEAST_S: Final = 60.0
USED: Final = 0.75  # of the time that is left; loading, judging and files are in the rest
TEACHING: Final = 0.45  # of what is used
REHEARSAL: Final = ("--steps", "2", "--batch", "2", "--crop-px", "64")


def run(task: Task, findings: Findings, *, start: Start | None = None) -> None:
    """Pack the imagery unless it is packed, and train.

    Raises:
        NotPossibleHere: there is no imagery, or a package is missing.
    """
    if task.data is None and not task.rehearsal:
        raise NotPossibleHere("there is no labelled imagery; give --data, a folder or what kda-train pack made of one")
    missing = lacking()
    if missing:
        raise NotPossibleHere(f"{', '.join(missing)} not installed")
    if not findings.has_time_for("training", 5.0 if task.rehearsal else LEAST_S):
        return
    begin = start or run_limited
    packed = _packed(task, findings, begin)
    if packed is None:
        return
    out = task.out / FOLDER / "student"
    remove_run(out)
    words = recipe(task, packed, findings.remaining_s() * USED)
    seen = watched("student", words, [], task, limit_s=max(findings.remaining_s(), 1.0), start=begin)
    judged = add_metrics(out, findings)
    findings.settings["student"] = {"command": " ".join(words), "checkpoints": "training/student/student_*.pt"}
    if isinstance(seen, str):
        (findings.left_out if judged else findings.failures).append(f"the run was ended early: {seen}")
    elif seen["code"]:
        findings.failures.append(f"the run failed: {seen['error'] or 'see logs/training_student.log'}")
    else:
        findings.figures.append(Figure("steps", float(len(seen["ends_s"])), ""))


def recipe(task: Task, packed: Path, seconds: float) -> list[str]:
    """Return the words of kda-train for so many seconds of training."""
    words = ["card", "--set", str(packed), "--out", str(task.out / FOLDER / "student"), "--device", task.device]
    words += ["--teacher-s", f"{TEACHING * seconds:.0f}", "--student-s", f"{(1 - TEACHING) * seconds:.0f}"]
    weights = None if task.data is None else _folder_of(task.data) / WEIGHTS
    words += ["--weights", str(weights)] if weights is not None and weights.is_dir() else []
    return [*words, *(REHEARSAL if task.rehearsal else ())]


def _packed(task: Task, findings: Findings, start: Start) -> Path | None:
    """Return the packed set: what was given, or what is made of it; None where it can't be, with the reason noted."""
    if task.data is not None and task.data.is_file() and task.data.suffix == ".zip":
        return task.data
    packed = task.out / FOLDER / SET
    packed.parent.mkdir(parents=True, exist_ok=True)
    data = data_file(task, 8) if task.data is None else task.data
    if (data / SET).is_file():
        return data / SET
    command = [sys.executable, "-m", "kda_edge.train", "pack", "--data", str(data), "--out", str(packed)]
    ended = start(command, task.out / LOGS / "training_pack.log", findings.remaining_s())
    if ended.code == 0 and packed.is_file():
        return packed
    why = "no time was left" if ended.timed_out else ended.last_line or f"exit code {ended.code}"
    findings.failures.append(f"the imagery can't be packed: {why}")
    return None


def _folder_of(data: Path) -> Path:
    return data if data.is_dir() else data.parent


def add_metrics(out: Path, findings: Findings) -> bool:
    """Add how good each student is, at its threshold, and return whether one was judged."""
    judged: Sequence[Path] = sorted(out.glob("judged_student_*.json"))
    for path in judged:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        of = {"student": content["networks"][0]}
        findings.figures.append(Figure("threshold", content["threshold"], "", of=of))
        for group, metrics in content["metrics"].items():
            if "iou" in metrics:
                findings.figures.append(Figure(f"iou.{group}", metrics["iou"], "", "higher", of=of))
    return bool(judged)
