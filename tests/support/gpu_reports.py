"""Cards, tasks and findings of GPU reports that ran nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fake_time import FakeClock

from kda_edge.benchmarks.gpu.part_file import Card, PartFile
from kda_edge.benchmarks.gpu.parts import Findings, Task
from kda_edge.benchmarks.reporting.result import Figure, Result

RTX_3090 = Card("NVIDIA GeForce RTX 3090", "cuda", "580.65.06", "8.6", 25_438)
PROCESSOR = Card("Some CPU", "cpu")


def task_in(out: Path, **fields: Any) -> Task:
    return Task(**({"out": out, "card": RTX_3090, "seconds": 100.0} | fields))


def findings(seconds: float = 1000.0, clock: Any = None) -> Findings:
    clock = clock or FakeClock()
    return Findings(clock() + seconds, clock=clock)


def part_file(part: str = "pytorch", **fields: Any) -> PartFile:
    of = {"model": "bundled", "precision": "fp16", "mode": "eager", "batch": 4}
    figures = [Figure("latency.p50", 1.25, "ms", "lower", of), Figure("throughput", 840.0, "Mpx/s", "higher", of)]
    defaults = {
        "part": part,
        "status": "done",
        "reason": "",
        "rehearsal": False,
        "device": RTX_3090,
        "seconds": 12.5,
        "result": Result("gpu", {"part": part}, figures),
    }
    return PartFile(**(defaults | fields))


def values(found: Findings) -> dict[str, float]:
    """The figures by name; of several of one name the last."""
    return {figure.name: figure.value for figure in found.figures}
