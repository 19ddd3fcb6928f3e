"""What distillation brings at the size of a small machine: `nano`, two data sets, groups that no run saw.

    python -m kda_edge.benchmarks.studies.nano_distillation --data-root DIR --teacher-weights FILE
        --out runs/nano_distillation

DIR holds the sources of `nano_distillation.toml` beside this file. The teacher, and the frozen model inside the
discriminator, is EfficientNet-Lite0 (ImageNet-1k): a small CNN, no foundation model. All cells of a kind have the same
budget; nothing is chosen on the test groups but the threshold of the column that says so. Started again, it goes on;
a cell that `--json` holds already, made with the same settings, is not run again, on whatever machine it ran.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kda_edge.commands import ended
from kda_edge.errors import UsageError
from kda_edge.machine import machine_facts

from ..documents.training_tables import distillation_table
from ..paper.experiments import Cell, Step, run_cell, write_rows

DATA: Final = Path(__file__).with_suffix(".toml")
TEACHER: Final = "tf_efficientnet_lite0"
PRECISION: Final = ("--precision", "fp32")  # said, lest a machine with bfloat16 computes its rows in that
PHASE_1: Final = (
    *("--crop-px", "128", "--teacher-px", "192", "--pseudo-px", "96", "--epochs", "10", "--batch", "16"),
    *("--student-rate", "5e-4", "5e-6", "--discriminator-rate", "5e-5", "5e-7", "--warmup-epochs", "1"),
    *("--weight-decay", "0.05", "--clip-norm", "1", "--scale", "0.6", "1.6", "--workers", "1"),
)
PHASE_2: Final = (
    *("--crop-px", "128", "--epochs", "24", "--batch", "16", "--backbone-rate", "5e-4", "5e-6"),
    *("--decoder-rate", "5e-4", "5e-6", "--warmup-epochs", "2", "--weight-decay", "0.05", "--clip-norm", "1"),
    *("--average", "0.998", "--loss", "0.4", "0.6", "0.5", "--scale", "0.6", "1.6", "--workers", "1"),
)
GROUPS: Final = ("bijie/ny", "bijie/qxg", "l4s/validation")
METHODS: Final[dict[str, tuple[str, ...] | None]] = {  # of phase 1, as options; None: no phase 1
    "none": None,
    "kd": ("--method", "kd"),
    "kda": ("--method", "kda"),
    "kda-adaptive": ("--method", "kda", "--loss-weights", "adaptive"),
    "kda-stages": ("--method", "kda", "--align", "stages"),
}
# Method, network and seed; in the order in which a run that is cut short tells most.
CELLS: Final = (
    *((method, "nano", seed) for seed in (0, 1, 2) for method in ("none", "kd", "kda")),
    ("kda-stages", "nano", 0),
    ("kda-adaptive", "nano", 0),
    ("kda", "nano+segformer", 0),
    ("kda", "nano+unet", 0),
    ("none", "unet-small", 0),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all cells that are not done, write the table so far after each and print it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--teacher-weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="default: table.json in --out")
    parser.add_argument("--cells", type=int, default=len(CELLS), help="stop after that many")
    options = parser.parse_args(argv)
    words = "stopped; start the same command again to go on"
    return ended("nano_distillation", lambda: _run(options), interrupted=words)


def _run(options: argparse.Namespace) -> None:
    if options.cells < 1:
        raise UsageError(f"--cells {options.cells}: give 1 or more")
    table = options.json or options.out / "table.json"
    rows: list[dict[str, Any]] = []
    known = known_rows(table)
    for done, (method, network, seed) in enumerate(CELLS[: options.cells], start=1):
        cell = cell_of(method, network, seed, options)
        key = {**cell.labels, "seed": seed}
        row = next((row for row in known if {name: row[name] for name in key} == key), None)
        rows.append(row or {**key, "machine": machine_facts(("torch", "timm")), **figures(run_cell(cell))})
        waiting = [{"method": m, "network": n, "seed": s} for m, n, s in CELLS[done:]]
        write_rows(table, rows, not_run=waiting, phase_1=PHASE_1, phase_2=PHASE_2)
    print(f"{distillation_table({'rows': rows, 'not_run': waiting})}\n-> {table}")


def known_rows(table: Path) -> list[dict[str, Any]]:
    """Return the rows of an earlier run; none where there was none.

    Raises:
        UsageError: it was made with other settings.
    """
    if not table.exists():
        return []
    earlier = json.loads(table.read_text(encoding="utf-8"))
    if (earlier["phase_1"], earlier["phase_2"]) != (list(PHASE_1), list(PHASE_2)):
        raise UsageError(f"{table} was made with other settings; choose another --json, or delete it")
    rows: list[dict[str, Any]] = earlier["rows"]
    return rows


def cell_of(method: str, network: str, seed: int, options: argparse.Namespace) -> Cell:
    """Return the commands of a cell; cells that differ in the head alone share their phase 1."""
    common = ("--data", str(DATA), "--data-root", str(options.data_root), "--seed", str(seed))
    steps = []
    backbone: tuple[str, ...] = ()
    options_of_method = METHODS[method]
    if options_of_method is not None:
        folder = options.out / f"distill-{method}-{seed}"
        teacher = ("--teacher", TEACHER, "--teacher-weights", str(options.teacher_weights), "--discriminator", TEACHER)
        arguments = ("distill", *common, "--out", str(folder), "--variant", "nano", *teacher, *PHASE_1, *PRECISION)
        steps.append(Step(folder, (*arguments, *options_of_method)))
        backbone = ("--backbone", str(folder / "distilled.pt"))
    folder = options.out / f"segment-{method}-{network}-{seed}"
    learned = ("segment", *common, "--out", str(folder), "--variant", network, *PHASE_2, *PRECISION, *backbone)
    steps.append(Step(folder, learned))
    result = folder / "test" / "metrics.json"
    judged = ("evaluate", *common, "--ckpt", str(folder / "best.pt"), "--split", "test", "--json", str(result))
    steps.append(Step(result.parent, judged, resumable=False))
    return Cell(f"{method} {network} {seed}", tuple(steps), result, {"method": method, "network": network})


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the table says of a run: IoU by group at 0.5 and at each group's own best threshold, and means."""
    fixed = {group: result["metrics"][group]["iou"] for group in GROUPS}
    best = {group: result["at_best_threshold"][group]["iou"] for group in GROUPS}
    return {
        "iou": fixed,
        "iou_at_best_threshold": best,
        "mean_iou_of_groups": statistics.fmean(fixed.values()),
        "mean_iou_of_groups_at_best_threshold": statistics.fmean(best.values()),
    }


if __name__ == "__main__":
    raise SystemExit(main())
