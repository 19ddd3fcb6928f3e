"""Both phases of the paper on a card, by `kda-train` itself: images a second, memory, hours of CAS.

Phase 1: DINOv2-L teaches and DINOv2-B looks on, by architecture with random weights, since speed and memory do not
depend on them; `base`, batch 8, 224 px. Phase 2: `base`, batch 16, 512 px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..commands.device_profiles import profile_of_card, read_profile
from ..gpu.parts import Findings, Task
from ..reporting.result import Estimate, Figure
from .watched_runs import FOLDER, Start, data_file, machine_options, remove_run, watched

CAS_TILES: Final = 20_865
PAPER_EPOCHS: Final = 200
LIMIT_GB: Final = 24.0  # the memory of an RTX 3090, 1e9 bytes
LEAST_PHASE_S: Final = 24.0  # a process that imports PyTorch and makes DINOv2-L, and some steps
STEPS_S: Final = 6.0
WARM_UP_STEPS: Final = 3
REHEARSAL_DRAWS: Final = 32
OTHER_CARD: Final = "rtx3090"
TINY: Final = "vit_tiny_patch16_224"  # the teacher of a rehearsal


@dataclass(frozen=True)
class Phase:
    """A phase of training as it is measured.

    Attributes:
        name: in figures.
        command: the subcommand of kda-train, with what the paper gives.
        batch: images a step.
        rehearsal: the same in a rehearsal.
        rehearsal_batch: images a step there.
    """

    name: str
    command: tuple[str, ...]
    batch: int
    rehearsal: tuple[str, ...]
    rehearsal_batch: int


PHASES: Final = (
    Phase(
        "phase2",
        ("segment", "--skip-check", "--skip-report", "--variant", "base", "--crop-px", "512"),
        16,
        ("segment", "--skip-check", "--skip-report", "--variant", "nano"),
        2,
    ),
    Phase(
        "phase1",
        ("distill", "--variant", "base", "--crop-px", "224"),
        8,
        ("distill", "--variant", "nano", "--teacher", TINY, "--discriminator", TINY),
        2,
    ),
)


def measure_phase(phase: Phase, recompute: bool, task: Task, findings: Findings, start: Start) -> None:
    """Measure a phase: a few seconds of steps, interrupted then.

    Args:
        phase: that runs.
        recompute: with `--recompute`, and then within the memory of an RTX 3090.
        task: sizes and device.
        findings: what is found goes there.
        start: starts the command.
    """
    of: dict[str, str | int] = {"phase": phase.name, "recompute": "yes" if recompute else "no"}
    name = f"{phase.name}{'_recompute' if recompute else ''}"
    if not findings.has_time_for(name, 3.0 if task.rehearsal else LEAST_PHASE_S):
        return
    batch = phase.rehearsal_batch if task.rehearsal else phase.batch
    words = [*(phase.rehearsal if task.rehearsal else phase.command), "--batch", str(batch)]
    words += ["--crop-px", "64"] if task.rehearsal else []
    words += ["--data", str(data_file(task, REHEARSAL_DRAWS if task.rehearsal else CAS_TILES)), *machine_options(task)]
    words += ["--precision", "fp32" if task.rehearsal else "bf16", "--out", str(task.out / FOLDER / name)]
    words += ["--recompute"] if recompute else []
    watch = ["--random-weights", *(["--after-steps", "3"] if task.rehearsal else ["--after-s", str(STEPS_S)])]
    watch += ["--memory-gb", str(LIMIT_GB)] if recompute else []
    remove_run(task.out / FOLDER / name)
    seen = watched(name, words, watch, task, limit_s=findings.remaining_s(), start=start)
    if isinstance(seen, str):
        findings.failures.append(f"{name}: {seen}")
        return
    findings.notes += [note for note in seen["notes"] if note not in findings.notes]
    if seen["error"]:
        if recompute:
            findings.figures.append(Figure("memory.fits_24gb", 0.0, "", "higher", of))
            findings.failures.append(f"{name} does not fit {LIMIT_GB:g} GB")
        else:
            findings.left_out.append(f"{name}: the memory of the card does not suffice")
        return
    intervals = np.diff(seen["ends_s"])[min(WARM_UP_STEPS, max(len(seen["ends_s"]) - 2, 0)) :]
    if not len(intervals):
        findings.failures.append(f"{name}: no two steps in its time; see logs/training_{name}.log")
        return
    images_s = batch / float(np.median(intervals))
    findings.figures += [
        Figure("throughput.images", images_s, "images/s", "higher", of),
        Figure("step.p50", float(np.median(intervals)) * 1e3, "ms", "lower", of),
        Figure("steps", float(len(intervals)), "", "neither", of),
    ]
    if "allocated_gb" in seen:
        findings.figures += [
            Figure("memory.allocated", seen["allocated_gb"], "GB", "lower", of),
            Figure("memory.reserved", seen["reserved_gb"], "GB", "lower", of),
            Figure("memory.fits_24gb", float(seen["allocated_gb"] < LIMIT_GB), "", "higher", of),
        ]
    findings.estimates += hours_of_cas(images_s, of, task.card.name)


def hours_of_cas(images_s: float, of: dict[str, str | int], card: str) -> list[Estimate]:
    """Return the hours of the paper's epochs at a measured pace, here and, by published peaks, on an RTX 3090."""
    hours = PAPER_EPOCHS * CAS_TILES / images_s / 3600
    what = f"{PAPER_EPOCHS} epochs of {CAS_TILES:,} tiles at {images_s:.3g} images/s"
    found = [Estimate("hours.cas", hours, "h", f"{what}, as measured on {card}; judging and files not in it", of)]
    here, there = profile_of_card(card), read_profile(OTHER_CARD)
    if here is None or here.name == there.name or not (here.bf16_training_tflops and there.bf16_training_tflops):
        return found
    assert here.bandwidth_gb_s is not None
    assert there.bandwidth_gb_s is not None
    ratios = {
        "memory_bound": (here.bandwidth_gb_s / there.bandwidth_gb_s, "bandwidth"),
        "compute_bound": (here.bf16_training_tflops / there.bf16_training_tflops, "bfloat16 peak"),
    }
    for name, (ratio, peak) in ratios.items():
        method = f"{what} on {card}, times {ratio:.3g}, the ratio of the published {peak} of both; not measured"
        found.append(Estimate(f"hours.cas.{name}", hours * ratio, "h", method, of | {"device": there.name}))
    return found
