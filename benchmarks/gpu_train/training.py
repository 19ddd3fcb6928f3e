"""The part `training`: a step against the processor's, both phases of the paper, and an exact resume."""

from __future__ import annotations

import importlib.util

from kda_edge.errors import MissingDependency

from ..gpu.part_process import run_limited
from ..gpu.parts import Findings, NotPossibleHere, Task
from .phases import PHASES, measure_phase
from .resume import hold_resumed_to_whole
from .step_against_cpu import against_cpu
from .watched_runs import Start


def run(task: Task, findings: Findings, *, start: Start | None = None) -> None:
    """Measure.

    Raises:
        MissingDependency: PyTorch is not installed.
        NotPossibleHere: it does not see the card.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency("torch", extra="train")
    import torch

    if task.device == "cuda" and not torch.cuda.is_available():
        raise NotPossibleHere(f"PyTorch {torch.__version__} sees no card; see what nvidia-smi lists")
    against_cpu(task, findings)
    findings.save()
    missing = lacking()
    if missing:
        findings.left_out.append(f"both phases and resuming: not possible here, {', '.join(missing)} not installed")
        return
    begin = start or run_limited
    for recompute in (True,) if task.rehearsal else (False, True):
        for phase in PHASES:
            measure_phase(phase, recompute, task, findings, begin)
            findings.save()
    hold_resumed_to_whole(task, findings, begin)


def lacking() -> list[str]:
    """Return what kda-train needs and is not installed; `lightning` may stand in for lightning-fabric."""
    names = {"rasterio": ("rasterio",), "timm": ("timm",), "lightning-fabric": ("lightning_fabric", "lightning")}
    return [name for name, any_of in names.items() if not any(importlib.util.find_spec(one) for one in any_of)]
