"""The tables of the paper without the paper's machines: a fake kda-train, small teachers, and tables read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kda_edge.benchmarks.paper.row_commands import TEACHERS

STAND_INS = dict(
    zip(
        TEACHERS,
        ("test_vit", "test_vit2", "test_vit3", "test_convnext", "test_convnext2", "test_convnext3"),
        strict=True,
    )
)
METRICS = {"iou": 0.5, "f1": 2 / 3, "mean_iou": 0.7, "mean_f1": 0.8, "overall_accuracy": 0.9, "recall": 0.6}


@dataclass
class FakeTrain:
    """Stands for kda-train: notes its commands; an evaluation's IoU is a tenth more with each seed."""

    stops_at: int = -1
    metrics: dict[str, float] = field(default_factory=lambda: dict(METRICS))
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, arguments: Sequence[str]) -> int:
        if len(self.commands) == self.stops_at:
            raise KeyboardInterrupt
        self.commands.append(tuple(arguments))
        if arguments[0] == "evaluate":
            value = {key: arguments[arguments.index(key) + 1] for key in ("--seed", "--json")}
            metrics = {**self.metrics, "iou": self.metrics["iou"] + int(value["--seed"]) / 10}
            groups = {"cas/a": {"iou": 0.1}, "cas/b": {"iou": 0.2}, "cas": metrics}
            result = {"metrics": groups, "threshold": 0.5, "checkpoint_sha256": "0" * 64}
            Path(value["--json"]).write_text(json.dumps(result))
        return 0


def rows_of(out: Path, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / f"{table}.json").read_text())["rows"]
    return rows


def lines_of(out: Path, table: str) -> list[list[str]]:
    """Return the cells of the Markdown table, headings first."""
    text = (out / f"{table}.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
