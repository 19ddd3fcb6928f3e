"""The part `student`: the bundled student's recipe, trained on a card for the minutes that are left.

Its last step, which goes on from the bundled student's weights; from fresh ones where its checkpoint is not at hand.
Batches are larger and rates scaled with them; `best.pt` and `last.pt` are written after every epoch, an epoch being a
fraction of a minute on a card, and the metrics with them.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ..gpu.models import checkpoint_of, students
from ..gpu.part_process import run_limited
from ..gpu.parts import Findings, NotPossibleHere, Task
from ..reporting.result import Figure
from .training import lacking
from .watched_runs import FOLDER, Start, machine_options, remove_run, watched

RECIPE_DATA: Final = "bundled_student.toml"  # in train/, of a clone
SOURCES: Final = (  # its folders
    *("bijie", "l4s_rgb", "l4s_rgb_more", "jinsha_ortho", "roadside_uav", "cas_moxi_1m", "cas_moxi_0.2m"),
    *("cas_jiuzhai_0.5m", "cas_jiuzhai_0.2m", "cas_hokkaido", "sichuan_uav", "aid_negatives"),
)
RECIPE_BATCH: Final = 16
RECIPE_RATES: Final = {"--backbone-rate": (4e-4, 4e-6), "--decoder-rate": (8e-4, 1e-5)}
BATCH: Final = 64
# docs/model_card.md, the last step, but for batch, rates, precision, epochs and how often it is judged.
RECIPE: Final = (
    *(
        "segment",
        "--skip-check",
        "--crop-px",
        "192",
        "--weight-decay",
        "0.05",
        "--clip-norm",
        "1",
        "--average",
        "0.995",
    ),
    *("--loss", "1", "0", "1", "--scale", "0.6", "1.6", "--colour", "0.6"),
)
FINISH: Final = ("--finish-px", "256", "--finish-epochs", "2")
TRY_S: Final = 12.0  # of steps, to learn the pace
LEAST_S: Final = 90.0
USED: Final = 0.8  # of the time that is left: judging, files and the larger crops of the end are in the rest
FEWEST_EPOCHS: Final = 5
JUDGED_EVERY_S: Final = 60.0
EPOCH_LINE: Final = re.compile(r"epoch (\d+)/\d+: loss ([\d.]+), (?:val IoU ([\d.]+)|not judged)")
CROPS_LINE: Final = re.compile(r"'train': (\d+)")


def run(task: Task, findings: Findings, *, start: Start | None = None) -> None:
    """Learn the pace, choose the epochs, train.

    Raises:
        NotPossibleHere: there is no imagery, or a package is missing.
    """
    if task.data is None and not task.rehearsal:
        raise NotPossibleHere("there is no labelled imagery; give --data FOLDER")
    missing = lacking()
    if missing:
        raise NotPossibleHere(f"{', '.join(missing)} not installed")
    if not findings.has_time_for("training", 5.0 if task.rehearsal else LEAST_S):
        return
    begin = start or run_limited
    words = [*recipe(task), *data_words(task)]
    epoch_steps, steps_s = _pace(words, task, findings, begin)
    if not steps_s:
        return
    epochs = epochs_for(findings.remaining_s() * USED, epoch_steps, steps_s, rehearsal=task.rehearsal)
    judged_every = max(1, min(epochs, round(JUDGED_EVERY_S * steps_s / epoch_steps)))
    out = task.out / FOLDER / "student"
    remove_run(out)
    words += ["--epochs", str(epochs), "--evaluate-every", str(judged_every), "--out", str(out)]
    words += [] if task.rehearsal else FINISH
    seen = watched("student", words, [], task, limit_s=max(findings.remaining_s(), 1.0), start=begin)
    found = metrics_of(task.out / "logs" / "training_student.log")
    add_metrics(found, epochs, findings)
    findings.settings["student"] = {"command": " ".join(words), "checkpoint": "training/student/best.pt"}
    if isinstance(seen, str):
        (findings.left_out if found else findings.failures).append(f"the run was ended early: {seen}")
    elif seen["code"]:
        findings.failures.append(f"the run failed: {seen['error'] or 'see logs/training_student.log'}")


def recipe(task: Task) -> list[str]:
    """Return the options of the recipe, rates scaled with the batch by the root of their ratio."""
    batch = 2 if task.rehearsal else BATCH
    scale = math.sqrt(batch / RECIPE_BATCH)
    bundled = students(task)[0]
    checkpoint = checkpoint_of(bundled, task.out)
    start = ["--variant", bundled.variant] if checkpoint is None else ["--init", str(checkpoint)]
    words = [*RECIPE, *start, "--batch", str(batch)]
    for option, rates in RECIPE_RATES.items():
        words += [option, *(f"{rate * scale:.3g}" for rate in rates)]
    words += ["--precision", "fp32" if task.rehearsal else "bf16", *machine_options(task)]
    return [*words, "--crop-px", "64"] if task.rehearsal else words


def data_words(task: Task) -> list[str]:
    """Return the options that name the imagery: that of the recipe where its folders are there, else what was given."""
    if task.data is None:
        from .watched_runs import data_file

        return ["--data", str(data_file(task, 8))]
    spec = importlib.util.find_spec("kda_edge.train")
    toml = None if spec is None or spec.origin is None else Path(spec.origin).with_name(RECIPE_DATA)
    if toml is not None and toml.is_file() and all((task.data / name).is_dir() for name in SOURCES):
        return ["--data", str(toml), "--data-root", str(task.data)]
    return ["--data", str(task.data)]


def _pace(words: Sequence[str], task: Task, findings: Findings, start: Start) -> tuple[int, float]:
    """Return the steps of an epoch and the steps a second, or zeros with the reason among the failures."""
    out = task.out / FOLDER / "student_pace"
    remove_run(out)
    after = ["--after-steps", "3"] if task.rehearsal else ["--after-s", str(TRY_S)]
    run = [*words, "--epochs", "1000", "--evaluate-every", "1000", "--out", str(out)]
    seen = watched("student_pace", run, after, task, limit_s=findings.remaining_s(), start=start)
    if isinstance(seen, str) or len(seen["ends_s"]) < 2:
        findings.failures.append(f"its pace can't be learned: {seen if isinstance(seen, str) else 'no two steps'}")
        return 0, 0.0
    said = (task.out / "logs" / "training_student_pace.log").read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"epoch 1/1000[^\n\r]*?\d+/(\d+)", said)
    steps_s = 1.0 / float(np.median(np.diff(seen["ends_s"])))
    return (int(found[-1]) if found else len(seen["ends_s"])), steps_s


def epochs_for(seconds: float, epoch_steps: int, steps_s: float, *, rehearsal: bool = False) -> int:
    """Return how many epochs fit into some seconds."""
    return 2 if rehearsal else max(FEWEST_EPOCHS, int(seconds * steps_s / epoch_steps))


def metrics_of(log: Path) -> list[tuple[int, float, float | None]]:
    """Return epoch, loss and landslide IoU on val of each epoch that a log tells of; None: not judged."""
    if not log.is_file():
        return []
    lines = EPOCH_LINE.findall(log.read_text(encoding="utf-8", errors="replace"))
    return [(int(epoch), float(loss), float(iou) if iou else None) for epoch, loss, iou in lines]


def add_metrics(found: Sequence[tuple[int, float, float | None]], epochs: int, findings: Findings) -> None:
    """Add how far the run came, and its best IoU."""
    findings.figures.append(Figure("epochs", float(found[-1][0] if found else 0), ""))
    findings.figures.append(Figure("epochs.planned", float(epochs), ""))
    judged = [iou for _, _, iou in found if iou is not None]
    if judged:
        findings.figures.append(Figure("iou.best", max(judged), "", "higher"))
    if found:
        findings.figures.append(Figure("loss.last", found[-1][1], "", "lower"))
