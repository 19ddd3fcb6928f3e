"""A training run that was interrupted and resumed, against one that was not: the same weights, on one card."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..gpu.parts import Findings, Task
from ..reporting.result import Figure
from .watched_runs import FOLDER, Start, data_file, remove_run, watched

LEAST_S: Final = 36.0  # four short runs, each of which imports PyTorch


def hold_resumed_to_whole(task: Task, findings: Findings, start: Start) -> None:
    """Hold a run that was interrupted and resumed to one that was not; a card may differ from itself, which is told."""
    if not findings.has_time_for("resume", 5.0 if task.rehearsal else LEAST_S):
        return
    words = [
        "segment",
        "--skip-check",
        "--skip-report",
        "--variant",
        "nano",
        "--crop-px",
        "64",
        "--batch",
        "8",
        "--epochs",
        "2",
        "--precision",
        "fp32",
    ]
    words += ["--data", str(data_file(task, 16 if task.rehearsal else 32)), "--device", task.device, "--workers", "0"]
    words += ["--memory-format", "contiguous"]  # no trial
    steps = 2 if task.rehearsal else 4  # an epoch
    names = ("whole", "cut") if task.rehearsal else ("whole", "again", "cut")
    for name in names:
        folder = task.out / FOLDER / f"resume_{name}"
        remove_run(folder)
        plan: list[tuple[list[str], list[str]]] = [([], [])]
        if name == "cut":
            # In its second epoch: what that had learned is lost, and learned anew.
            plan = [(["--after-steps", str(steps + 1)], []), ([], ["--resume"])]
        for watch, more in plan:
            limit_s, run = max(findings.remaining_s(), 1.0), [*words, "--out", str(folder), *more]
            seen = watched(f"resume_{name}", run, watch, task, limit_s=limit_s, start=start)
            if isinstance(seen, str):
                findings.failures.append(f"resume, {name}: {seen}")
                return
    last = {name: task.out / FOLDER / f"resume_{name}" / "last.pt" for name in names}
    hold_to_whole(largest_apart(last["whole"], last["cut"]), _noise(last), findings)


def _noise(last: dict[str, Path]) -> float | None:
    return largest_apart(last["whole"], last["again"]) if "again" in last else None


def hold_to_whole(resumed: float, again: float | None, findings: Findings) -> None:
    """Add how far a resumed run's weights lie from an uninterrupted one's, and how far two such lie apart.

    Args:
        resumed: largest difference of a weight.
        again: of two runs that nobody interrupted; None: not tried, none is expected.
        findings: where it goes.
    """
    findings.figures.append(Figure("resume.max_abs", resumed, "", "lower"))
    if again is not None:
        findings.figures.append(Figure("repeat.max_abs", again, "", "neither"))
    if resumed and not again:
        findings.failures.append(f"a resumed run ends with other weights (up to {resumed:.2g}) than a whole one")
    elif resumed and again:
        findings.notes.append("this card does not repeat itself bit for bit, whether interrupted or not")
        if resumed > 10 * again:
            findings.failures.append(f"a resumed run lies {resumed:.2g} from a whole one, two whole ones {again:.2g}")


def largest_apart(first: Path, second: Path) -> float:
    """Return the largest difference of a weight in two runs' states."""
    from kda_edge.networks.checkpoint import read_content

    one, other = (read_content(path)["run"]["network"] for path in (first, second))
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one)
